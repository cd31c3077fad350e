"""The flow `sign-out`: it revokes the token at E*TRADE first, and then deletes it here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from prefect.client.orchestration import get_client

from etrade_flows import active_session, renew_access_token
from etrade_flows.person.login import store, stored_credentials
from etrade_flows.sign_out import end_session, sign_out
from etrade_simulator import Fault, Simulator
from etrade_tasks import (
    ConfigurationRefused,
    CredentialsNotFound,
    ETradeCredentials,
    ETradeError,
    SignInRequired,
)
from etrade_tasks.credentials import environment_of
from etrade_tasks.errors import AuthorizationFailed
from etrade_tasks.load_credentials import load_block

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

REVOKE = "/revoke_access_token"


@pytest.mark.essential
def test_run_ends_signed_out(simulator: Simulator, block: str, credentials: ETradeCredentials) -> None:
    """The run completes, E*TRADE no longer accepts the token, and the block keeps all but the token."""
    state = sign_out(block, return_state=True)
    assert "Completed" == state.name
    assert f"The access token of {block!r} is revoked and removed." == state.message
    with credentials.get_client() as client:
        assert 401 == client.get("/v1/accounts/list.json").status_code
    token = {"access_token": None, "access_token_secret": None, "signed_in_at": None}
    assert credentials.model_copy(update=token) == stored_credentials(block)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
    assert (f"sign out {block}: signed out", {"etrade", "live", block}) == (run.name, set(run.tags))


def test_nobody_renews_what_is_signed_out(
    simulator: Simulator, block: str, credentials: ETradeCredentials
) -> None:
    """After a sign-out nothing returns the last renewal, even if somebody puts the token back."""
    active_session(block)
    sign_out(block)
    with pytest.raises(SignInRequired, match="Nobody is signed in"):
        active_session(block)
    credentials.save(block, overwrite=True)
    for ask in (active_session, renew_access_token):
        with pytest.raises(SignInRequired):
            ask(block)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=500), AuthorizationFailed),
        (Fault(status=401, body="oauth_problem=consumer_key_rejected"), ConfigurationRefused),
    ],
)
def test_failed_revocation_keeps_the_token(
    *,
    simulator: Simulator,
    block: str,
    credentials: ETradeCredentials,
    fault: Fault,
    error: type[ETradeError],
) -> None:
    """If E*TRADE does not confirm that the token is dead, the run fails and the block stays unchanged."""
    simulator.plant(fault, path=REVOKE, times=9)
    with pytest.raises(error, match="The token stays in the block"):
        sign_out(block)
    assert credentials == stored_credentials(block)


def test_lost_answer_is_made_up_for(simulator: Simulator, block: str) -> None:
    """If the answer to the revocation is lost, the next attempt finds the token dead."""
    simulator.plant(Fault(drop="before-answer", when="after"), path=REVOKE)
    assert "token_rejected" in sign_out(block, return_state=True).message
    with pytest.raises(SignInRequired):
        renew_access_token(block)


class TestEditedMeanwhile:
    """Somebody changes the block after it was loaded and before the revocation."""

    def test_edit_is_kept(self, simulator: Simulator, block: str) -> None:
        """The block keeps the edit, and the token is deleted."""
        before = stored_credentials(block)
        store(block, before.model_copy(update={"consumer_key_issued_on": date(2025, 7, 15)}))
        assert "revoked and removed" in end_session(block, before)
        after = stored_credentials(block)
        assert (date(2025, 7, 15), None) == (after.consumer_key_issued_on, after.access_token)

    def test_new_token_is_kept(
        self, simulator: Simulator, block: str, credentials_for: Callable[..., ETradeCredentials]
    ) -> None:
        """If somebody has signed in since, the new token stays, and the message says so."""
        before, newer = stored_credentials(block), credentials_for(simulator.sign_in("live"))
        store(block, newer)
        assert "Somebody has signed in meanwhile" in end_session(block, before)
        assert newer == stored_credentials(block)
        with before.get_client() as client:
            assert 401 == client.get("/v1/accounts/list.json").status_code

    def test_deleted_block_stays_deleted(self, simulator: Simulator, block: str) -> None:
        """If the block was deleted since, it is not made again."""
        before = stored_credentials(block)
        ETradeCredentials.delete(block)
        end_session(block, before)
        assert None is load_block(block)


def test_session_of_yesterday_needs_no_call(simulator: Simulator, block: str) -> None:
    """Past midnight the token is dead, so it is deleted without asking E*TRADE."""
    simulator.advance(timedelta(hours=12))
    assert "ended at 2027-06-16 00:00" in sign_out(block, return_state=True).message
    assert [] == simulator.calls()


def test_setting_that_only_renewals_need_may_be_wrong(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A malformed setting of renewals keeps nobody from signing out."""
    monkeypatch.setenv("ETRADE_DEADLINE", "soon")
    assert "is revoked and removed" in sign_out(block, return_state=True).message
    assert 1 == len(simulator.calls(REVOKE))


def test_second_sign_out_is_no_error(simulator: Simulator, block: str) -> None:
    """A second sign-out says that nobody is signed in, and does not call E*TRADE."""
    sign_out(block)
    assert "Nobody is signed in" in sign_out(block, return_state=True).message
    assert 1 == len(simulator.calls(REVOKE))


def test_missing_block_fails(
    prefect_server: None, credentials: ETradeCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without a block fails, even if the ETRADE_* variables hold credentials."""
    for name, value in environment_of(credentials).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CredentialsNotFound):
        sign_out("nobody")
