"""A verifier becomes a renewed token in the block, and nothing unfinished is ever stored."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import SecretStr

from etrade_flows import renew_access_token
from etrade_flows.person.login import SignIn, begin_sign_in, complete_sign_in, store, stored_credentials
from etrade_simulator import Fault, Simulator
from etrade_tasks import ConfigurationRefused, CredentialsNotFound, ETradeCredentials, SessionState
from etrade_tasks.clock import use_clock
from etrade_tasks.errors import ETradeError, RenewalFailed, VerifierRefused
from etrade_tasks.oauth.authorization import IssuedToken

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

ACCESS, RENEW = "/access_token", "/oauth/renew_access_token"
LOST = Fault(drop="before-answer", when="after")


def secrets_of(credentials: ETradeCredentials) -> tuple[str | None, str | None]:
    keys = credentials.signing_keys
    return keys.token, keys.token_secret


def approved(simulator: Simulator, sign_in: SignIn) -> str:
    """The verifier that E*TRADE shows to the person."""
    return simulator.approve(sign_in.request_token.token)


class TestComplete:
    """`begin_sign_in` and `complete_sign_in`."""

    @pytest.mark.essential
    def test_new_token_is_in_the_block_and_works(
        self, simulator: Simulator, block: str, credentials: ETradeCredentials
    ) -> None:
        """A sign-in puts a dated and renewed token into the block, and changes nothing else."""
        simulator.advance(timedelta(hours=20))
        sign_in = begin_sign_in(block)
        session = complete_sign_in(sign_in, approved(simulator, sign_in))
        now_stored = stored_credentials(block)
        assert secrets_of(credentials) != secrets_of(now_stored)
        with now_stored.get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code
        assert now_stored.expires_at(simulator.now()) == session.expires_at
        assert abs(simulator.now() - now_stored.signed_in_at) < timedelta(minutes=1)
        token = ("access_token", "access_token_secret", "signed_in_at")
        changes = {name: getattr(now_stored, name) for name in token}
        assert credentials.model_copy(update=changes) == now_stored
        assert True is renew_access_token(block).reused
        assert 1 == len(simulator.calls(RENEW))

    def test_wrong_clock_costs_no_verifier(self, simulator: Simulator, block: str) -> None:
        """A sign-in just after midnight opens the new day's session, even if the machine's clock is slow."""
        simulator.advance(timedelta(hours=12, minutes=1))
        with use_clock(lambda: simulator.now() - timedelta(hours=1)):
            sign_in = begin_sign_in(block)
            session = complete_sign_in(sign_in, approved(simulator, sign_in))
        assert datetime(2027, 6, 17, 4, tzinfo=UTC) == session.expires_at
        assert SessionState.ACTIVE is renew_access_token(block).state(simulator.now())

    @pytest.mark.parametrize(
        ("fault", "path", "spoil", "error"),
        [
            pytest.param(None, "", lambda _: "wrong", VerifierRefused, id="wrong verifier"),
            pytest.param(LOST, ACCESS, str, VerifierRefused, id="answer to the exchange is lost"),
            pytest.param(Fault(status=500), RENEW, str, RenewalFailed, id="new token is not renewed"),
        ],
    )
    def test_failed_sign_in_stores_nothing(
        self,
        *,
        simulator: Simulator,
        block: str,
        credentials: ETradeCredentials,
        monkeypatch: pytest.MonkeyPatch,
        fault: Fault | None,
        path: str,
        spoil: Callable[[str], str],
        error: type[ETradeError],
    ) -> None:
        """If a sign-in fails at any step, the block keeps the old token."""
        monkeypatch.setenv("ETRADE_DEADLINE", "0.3")
        sign_in = begin_sign_in(block)
        if fault:
            simulator.plant(fault, path=path, times=1 if fault is LOST else 9)
        with pytest.raises(error):
            complete_sign_in(sign_in, spoil(approved(simulator, sign_in)))
        assert secrets_of(credentials) == secrets_of(stored_credentials(block))

    def test_nothing_printed_of_a_sign_in_is_secret(self, credentials: ETradeCredentials) -> None:
        """The `repr` of a sign-in shows only the credentials' name."""
        token = IssuedToken("fake-token", "fake-secret", datetime.now(UTC))
        assert "SignIn(name='main')" == repr(SignIn("main", "http://fake", credentials, token))


def edited(block: str, **changes: object) -> ETradeCredentials:
    """Change the block, as somebody else would, and return its credentials."""
    credentials = stored_credentials(block).model_copy(update=changes)
    store(block, credentials)
    return credentials


class TestEditedMeanwhile:
    """Somebody edits the block while the sign-in waits for its person."""

    def test_edit_is_kept(self, simulator: Simulator, block: str) -> None:
        """The block has both the edit and the new token."""
        sign_in = begin_sign_in(block)
        edited(block, consumer_key_issued_on=date(2025, 7, 15))
        complete_sign_in(sign_in, approved(simulator, sign_in))
        assert date(2025, 7, 15) == stored_credentials(block).consumer_key_issued_on
        assert secrets_of(sign_in.credentials) != secrets_of(stored_credentials(block))

    @pytest.mark.parametrize(
        "changes",
        [
            {"consumer_key": SecretStr("fake-other-key")},
            {"environment": "sandbox"},
            {"oauth_url": "http://127.0.0.1:9/oauth"},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_token_of_another_key_is_not_stored(
        self, simulator: Simulator, block: str, changes: dict[str, object]
    ) -> None:
        """A token for another key, environment or address is refused, and the block stays as edited."""
        sign_in = begin_sign_in(block)
        after = edited(block, **changes)
        with pytest.raises(ConfigurationRefused, match=r"changed while the sign-in waited.*sign in again"):
            complete_sign_in(sign_in, approved(simulator, sign_in))
        assert after == stored_credentials(block)

    def test_deleted_block_is_made_again(self, simulator: Simulator, block: str) -> None:
        """A block that was deleted meanwhile is created again from the sign-in's credentials."""
        sign_in = begin_sign_in(block)
        ETradeCredentials.delete(block)
        complete_sign_in(sign_in, approved(simulator, sign_in))
        assert renew_access_token(block).reused


def test_missing_block_says_how_to_make_one(prefect_server: None) -> None:
    """If there is no block, the error names the command that creates it."""
    with pytest.raises(CredentialsNotFound, match="login --credentials nobody"):
        stored_credentials("nobody")


LOGIN = """
import sys
from prefect.client.orchestration import SyncPrefectClient
from etrade_flows.person.login import begin_sign_in, complete_sign_in

def hang(when, update):
    def hanging(*arguments, **options):
        if when == "saved":
            update(*arguments, **options)
        print("save", flush=True)
        sys.stdin.readline()
    return hanging

name, step = sys.argv[1:]
SyncPrefectClient.update_block_document = hang(step, SyncPrefectClient.update_block_document)
sign_in = begin_sign_in(name)
print(sign_in.request_token.token, flush=True)
complete_sign_in(sign_in, sys.stdin.readline())
"""


@pytest.mark.parametrize(("step", "renewed"), [("saving", False), ("saved", True)])
def test_death_around_the_save_leaves_one_token_whole(
    *,
    simulator: Simulator,
    block: str,
    credentials: ETradeCredentials,
    start_python: Callable[..., subprocess.Popen[str]],
    step: str,
    renewed: bool,
) -> None:
    """A process killed before it saves leaves the old token, after it the new one, and either one works."""
    simulator.timestamp_tolerance = timedelta(days=10_000)  # that process uses the machine's clock
    process = start_python("-c", LOGIN, block, step)
    process.stdin.write(simulator.approve(process.stdout.readline().strip()) + "\n")
    process.stdin.flush()
    assert "save\n" == process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = stored_credentials(block)
    assert renewed == (secrets_of(credentials) != secrets_of(found))
    with found.get_client() as client:
        assert 200 == client.get("/v1/accounts/list.json").status_code
