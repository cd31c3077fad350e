"""What one way to get a session learns about a token, every other way knows too."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_TASKS_DISABLE_CACHING,
    PREFECT_TASKS_REFRESH_CACHE,
    get_current_settings,
    temporary_settings,
)
from prefect.transactions import transaction

from etrade_flows import active_session, etrade_client, renew_access_token, sign_out
from etrade_flows.access.memory import LOOK_SECONDS, forget_sessions
from etrade_simulator import Fault, Simulator
from etrade_tasks import (
    ETradeCredentials,
    RenewalFailed,
    SessionState,
    SessionTooShort,
    SignInRequired,
    TokenSession,
)
from etrade_tasks.clock import use_clock
from etrade_tasks.errors import PrefectUnavailable
from etrade_tasks.renew_session import renew_shared
from etrade_tasks.sharing.locks import FileLocks
from etrade_tasks.sharing.record import Records, record_key
from etrade_tasks.sharing.turn import Shared

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"
REJECTED = Fault(status=401, body="oauth_problem=token_rejected")

DOORS = [renew_access_token, active_session]

CredentialsFor = Callable[..., ETradeCredentials]


def renewals(simulator: Simulator) -> int:
    return len(simulator.calls(RENEW))


def _refused_by_force(simulator: Simulator, block: str) -> None:
    renew_access_token(block, force=True)


def _refused_by_a_client(simulator: Simulator, block: str) -> None:
    with etrade_client(block) as client:
        simulator.plant(Fault(status=401, body="oauth_problem=token_expired"), path="list.json")
        client.get("/v1/accounts/list.json")


@pytest.mark.parametrize("door", DOORS, ids=["flow", "active_session"])
@pytest.mark.parametrize("refused_at", [_refused_by_force, _refused_by_a_client], ids=["flow", "client"])
def test_refusal_ends_what_every_door_knows(
    simulator: Simulator,
    block: str,
    refused_at: Callable[..., object],
    door: Callable[..., TokenSession],
) -> None:
    """Once E*TRADE has refused the token, no way to get a session returns the earlier renewal."""
    active_session(block)
    simulator.plant(REJECTED, path=RENEW)
    with pytest.raises(SignInRequired):
        refused_at(simulator, block)
    simulator.plant(REJECTED, path=RENEW)
    with pytest.raises(SignInRequired):
        door(block)


def test_refusal_ends_what_another_process_knows(
    simulator: Simulator, block: str, elsewhere: Callable[[str], str]
) -> None:
    """A refusal in another process clears this one's memory at once."""
    active_session(block)
    simulator.plant(REJECTED, path=RENEW)
    assert "SignInRequired" in elsewhere("renew_access_token(name, force=True)")
    simulator.plant(REJECTED, path=RENEW)
    with pytest.raises(SignInRequired):
        active_session(block)


def test_sign_out_elsewhere_ends_this_memory(
    simulator: Simulator, block: str, elsewhere: Callable[[str], str]
) -> None:
    """Once another process has signed out, this one no longer returns the remembered session."""
    active_session(block)
    assert "SignInRequired" not in elsewhere("sign_out(name)")
    with pytest.raises(SignInRequired):
        active_session(block)


def test_refusal_ends_a_memory_that_was_not_recorded(
    simulator: Simulator, block: str, elsewhere: Callable[[str], str], wait_until: Callable[..., None]
) -> None:
    """A refusal in another process also ends a remembered renewal that was never recorded."""
    with temporary_settings({PREFECT_TASKS_DISABLE_CACHING: True}):
        active_session(block)
    simulator.plant(REJECTED, path=RENEW)
    assert "SignInRequired" in elsewhere("renew_access_token(name, force=True)")
    wait_until(lambda: active_session(block).reused is False, seconds=LOOK_SECONDS + 20)


@pytest.fixture
def elsewhere(simulator: Simulator, block: str) -> Callable[[str], str]:
    """Runs a line in another process with the same home and server; returns its standard error."""
    simulator.timestamp_tolerance = timedelta(days=3650)  # that process uses the machine's clock
    code = "import sys\nfrom etrade_flows import renew_access_token, sign_out\nname = sys.argv[1]\n"

    def run(line: str) -> str:
        settings = get_current_settings()
        own = {
            "PREFECT_API_URL": settings.api.url,
            "PREFECT_HOME": str(settings.home),
            "PREFECT_LOCAL_STORAGE_PATH": str(settings.results.local_storage_path),
        }
        done = subprocess.run(
            [sys.executable, "-c", code + line, block],
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stderr

    return run


@pytest.mark.essential
def test_new_sign_in_begins_afresh(simulator: Simulator, block: str, credentials_for: CredentialsFor) -> None:
    """A refusal ends the record of that token only: a new sign-in renews and is reused."""
    simulator.plant(REJECTED, path=RENEW)
    with pytest.raises(SignInRequired):
        renew_access_token(block)
    credentials_for(simulator.sign_in("live")).save(block, overwrite=True)
    assert renew_access_token(block).reused is False
    assert renew_access_token(block).reused is True


@pytest.mark.parametrize("environment", ["live", "sandbox"])
def test_memory_is_of_the_token_that_the_block_holds(
    simulator: Simulator, block: str, credentials_for: CredentialsFor, environment: str
) -> None:
    """Once a block holds another token or environment, the old token's session is no longer returned."""
    active_session(block)
    other = credentials_for(simulator.sign_in(environment))
    other.save(block, overwrite=True)
    session = active_session(block)
    assert (other.fingerprint, environment, False) == (
        session.fingerprint,
        session.environment,
        session.reused,
    )


def test_edit_in_the_ui_is_seen_soon(
    simulator: Simulator, block: str, credentials_for: CredentialsFor, wait_until: Callable[..., None]
) -> None:
    """A block that somebody edits elsewhere is looked at again within a second."""
    active_session(block)
    other = credentials_for(simulator.sign_in("live"))
    _edit_as_the_ui_does(block, other)
    wait_until(lambda: other.fingerprint == active_session(block).fingerprint, seconds=LOOK_SECONDS + 20)


def _edit_as_the_ui_does(block: str, other: ETradeCredentials) -> None:
    from prefect.client.schemas.actions import BlockDocumentUpdate

    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(block, ETradeCredentials.get_block_type_slug())
        data = {"access_token": other.access_token, "access_token_secret": other.access_token_secret}
        shown = {name: secret.get_secret_value() for name, secret in data.items()}
        client._client.patch(
            f"/block_documents/{document.id}",
            json=BlockDocumentUpdate(data=shown, merge_existing_data=True).model_dump(
                mode="json", exclude_unset=True
            ),
        ).raise_for_status()


def test_memory_is_of_the_storage_in_use(simulator: Simulator, block: str, tmp_path: Path) -> None:
    """With another result storage, nothing is remembered."""
    active_session(block)
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path}):
        assert active_session(block).reused is False


@pytest.mark.essential
def test_token_stored_meanwhile_is_used(
    simulator: Simulator, block: str, credentials_for: CredentialsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody has just signed in, a refusal of the old token is no error: the new one is renewed."""
    new = credentials_for(simulator.sign_in("live"))
    simulator.plant(REJECTED, path=RENEW)

    def meanwhile(shared: Shared) -> TokenSession:
        new.save(block, overwrite=True)
        return renew_shared(shared)

    monkeypatch.setattr("etrade_flows.access.renewal.renew_shared", meanwhile)
    assert new.fingerprint == renew_access_token(block).fingerprint
    assert 2 == renewals(simulator)


def test_renewal_made_meanwhile_spares_another_attempt(
    simulator: Simulator, block: str, credentials: ETradeCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed attempt, the run looks at the record, and reuses what another run has renewed since."""
    at, handle, context = simulator.now(), simulator._service.handle, copy_context()
    session = TokenSession(
        environment="live",
        fingerprint=credentials.fingerprint,
        renewed_at=at,
        idle_at=at + timedelta(hours=2),
        expires_at=credentials.expires_at(at),
    )

    def another_goes_ahead(*call: object) -> object:
        context.run(Records().keep, credentials, session)
        return handle(*call)

    monkeypatch.setattr(simulator._service, "handle", another_goes_ahead)
    simulator.plant(Fault(status=503), path=RENEW)
    assert renew_access_token(block).reused is True
    assert 1 == renewals(simulator)


@pytest.mark.parametrize(("status", "door"), [(401, renew_access_token), (404, active_session)])
def test_bare_status_is_asked_once_more(
    simulator: Simulator, block: str, status: int, door: Callable[..., TokenSession]
) -> None:
    """A page that says nothing but its status does not end a renewal: it is tried once more."""
    simulator.plant(Fault(status=status, body="<h1>Sorry</h1>"), path=RENEW)
    assert 2 == door(block).attempts


@pytest.mark.parametrize(("status", "error"), [(400, "ConfigurationRefused"), (401, "SignInRequired")])
def test_bare_status_is_believed_the_second_time(
    simulator: Simulator, block: str, status: int, error: str
) -> None:
    """If the same bare status comes twice, it is believed."""
    simulator.plant(Fault(status=status, body="<h1>Sorry</h1>"), path=RENEW, times=2)
    with pytest.raises(Exception, match=f"status {status}") as raised:
        renew_access_token(block)
    assert (error, 2) == (type(raised.value).__name__, renewals(simulator))


@pytest.mark.parametrize("ahead", [timedelta(minutes=75), timedelta(minutes=-75)])
def test_session_is_dated_by_e_trade_s_clock(simulator: Simulator, block: str, ahead: timedelta) -> None:
    """With a wrong clock a renewal still gets the right date, and it is not reused after the reuse window."""
    with use_clock(lambda: simulator.now() + ahead):
        session = renew_access_token(block)
    at = simulator.now()
    assert abs(session.renewed_at - at) < timedelta(minutes=1)
    assert session.idle_at == session.renewed_at + timedelta(hours=2)
    simulator.advance(timedelta(minutes=51))
    assert renew_access_token(block).reused is False
    simulator.advance(timedelta(hours=2))
    assert SessionState.INACTIVE is session.state(simulator.now())
    assert renew_access_token(block).reused is False


def test_clock_that_was_wrong_ends_no_session_by_itself(simulator: Simulator, block: str) -> None:
    """A machine that is known to be hours ahead asks E*TRADE before it calls a session over."""
    with use_clock(lambda: simulator.now() + timedelta(hours=3)):
        renew_access_token(block)
        simulator.advance(timedelta(hours=10))
        assert renew_access_token(block).reused is False


@pytest.mark.parametrize("door", DOORS, ids=["flow", "active_session"])
def test_clock_that_is_behind_carries_no_session_past_midnight(
    simulator: Simulator, block: str, door: Callable[..., TokenSession]
) -> None:
    """A machine that is known to be behind calls no session active after E*TRADE's midnight."""
    with use_clock(lambda: simulator.now() - timedelta(minutes=75)):
        simulator.advance(timedelta(hours=11, minutes=30))
        door(block)
        simulator.advance(timedelta(minutes=31))
        with pytest.raises(SignInRequired):
            door(block)


@pytest.mark.parametrize("door", DOORS, ids=["flow", "active_session"])
def test_clock_that_is_set_right_ends_no_session_before_its_midnight(
    simulator: Simulator, block: str, door: Callable[..., TokenSession]
) -> None:
    """After the clock is set right, its earlier error does not end a session that has hours left."""
    with use_clock(lambda: simulator.now() - timedelta(hours=3)):
        door(block)
    simulator.advance(timedelta(hours=10))
    assert door(block).reused is False


@pytest.mark.parametrize("door", DOORS, ids=["flow", "active_session"])
def test_session_that_proves_too_short_is_refused(
    simulator: Simulator, block: str, door: Callable[..., TokenSession]
) -> None:
    """If a slow clock hides that midnight is near, the renewal itself shows that the session is too short."""
    simulator.advance(timedelta(hours=10))
    with (
        use_clock(lambda: simulator.now() - timedelta(hours=3)),
        pytest.raises(SessionTooShort, match="in 2 h 00 min, and 4 h 00 min are needed"),
    ):
        door(block, required_for=timedelta(hours=4))


@pytest.mark.parametrize("problem", ["nonce_used", "timestamp_refused"])
def test_refusal_that_stays_is_not_hammered(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """If a nonce or timestamp stays refused, it is tried again once at once, and then with longer waits."""
    monkeypatch.setenv("ETRADE_FIRST_BACKOFF", "10")
    monkeypatch.setenv("ETRADE_DEADLINE", "8")
    simulator.plant(Fault(status=401, body=f"oauth_problem={problem}"), path=RENEW, times=20)
    with pytest.raises(RenewalFailed):
        renew_access_token(block)
    assert 2 == renewals(simulator)


def test_right_clock_is_not_blamed(
    simulator: Simulator, block: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If `Date` is right, acceptable timestamps of years ago neither move the clock nor cause a warning."""
    body = "oauth_problem=timestamp_refused,oauth_acceptable_timestamps=1136665132-1136665732"
    simulator.plant(Fault(status=401, body=body), path=RENEW)
    assert 2 == renew_access_token(block).attempts
    assert [] == [each.getMessage() for each in caplog.records if "Set it by NTP" in each.getMessage()]


@pytest.mark.parametrize(
    ("date", "status"), [("Fri, 31 Dec 9999 23:59:59 GMT", 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 401)]
)
def test_absurd_date_is_not_learned(simulator: Simulator, block: str, date: str, status: int) -> None:
    """A `Date` from another millennium neither dates a session nor moves the clock."""
    bodies = {200: "Access Token has been renewed", 401: "oauth_problem=timestamp_refused"}
    simulator.plant(Fault(status=status, body=bodies[status], headers={"Date": date}), path=RENEW)
    session = renew_access_token(block)
    assert abs(session.renewed_at - simulator.now()) < timedelta(minutes=1)


class Broken(Exception):
    """The error that a user's own code raises."""


@pytest.mark.parametrize("wrapped", ["task", "async task", "transaction", "nested"])
def test_renewal_inside_of_a_task_is_shared_at_once(simulator: Simulator, block: str, wrapped: str) -> None:
    """Others reuse a renewal while the task that made it still runs, and also after that task fails."""
    renewed, go_on = threading.Event(), threading.Event()

    def works() -> None:
        active_session(block)
        renewed.set()
        assert go_on.wait(60)
        raise Broken

    async def works_async() -> None:
        works()

    def in_transaction() -> None:
        with transaction(key=f"users-own-{block}-{wrapped}"):
            works()

    body = {
        "task": task(works),
        "async task": task(works_async),
        "transaction": in_transaction,
        "nested": task(in_transaction),
    }[wrapped]

    @flow
    def pipeline() -> None:
        if wrapped == "async task":
            body.submit().result()
        else:
            body()

    with ThreadPoolExecutor() as pool:
        running = pool.submit(copy_context().run, pipeline)
        assert renewed.wait(60)
        forget_sessions()
        assert renew_access_token(block).reused is True
        go_on.set()
        assert isinstance(running.exception(timeout=60), Broken)
    forget_sessions()
    assert renew_access_token(block).reused is True
    assert 1 == renewals(simulator)


def test_calling_flow_s_storage_does_not_take_the_record(
    simulator: Simulator, block: str, tmp_path: Path
) -> None:
    """A pipeline's own result storage does not change where the record of a renewal is kept."""
    from prefect.filesystems import LocalFileSystem

    storage = LocalFileSystem(basepath=str(tmp_path))
    storage.save(f"own-{block}", overwrite=True)

    @flow(persist_result=True, result_storage=storage)
    def pipeline() -> None:
        active_session(block)

    pipeline()
    forget_sessions()
    assert active_session(block).reused is True
    assert [] == list(tmp_path.glob("etrade-*"))


@pytest.mark.parametrize("setting", [PREFECT_TASKS_REFRESH_CACHE, PREFECT_TASKS_DISABLE_CACHING])
def test_who_tells_prefect_not_to_use_its_caches_renews(
    simulator: Simulator, block: str, setting: object
) -> None:
    """A renewal respects Prefect's own settings that switch caching off."""
    renew_access_token(block)
    with temporary_settings({setting: True}):
        assert renew_access_token(block).reused is False


def test_failed_renewal_leaves_no_result(simulator: Simulator, block: str) -> None:
    """A failed renewal leaves no pickle in the result storage, even if Prefect keeps results by default."""
    from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT

    storage = Path(get_current_settings().results.local_storage_path)
    before = set(storage.rglob("*")) if storage.exists() else set()
    simulator.plant(REJECTED, path=RENEW)
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}), pytest.raises(SignInRequired):
        renew_access_token(block)
    made = set(storage.rglob("*")) - before
    assert [] == [path.name for path in made if not path.name.startswith("etrade-session-")]


def test_call_is_made_though_waiting_used_up_the_time(
    simulator: Simulator,
    block: str,
    credentials: ETradeCredentials,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A storage that hangs and a lock that stays held leave time for one call, which renews."""
    from etrade_tasks.sharing import record

    def hangs() -> None:
        threading.Event().wait(60)

    monkeypatch.setattr(record, "open_storage", hangs)
    monkeypatch.setenv("ETRADE_DEADLINE", "2")
    held = FileLocks(get_current_settings().home / "etrade-locks").try_lock(record_key(credentials))
    try:
        assert renew_access_token(block).reused is False
    finally:
        held.release()
    assert 1 == renewals(simulator)


def test_slow_storage_is_named(simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the renewal then fails too, the error says that the storage did not answer."""
    from etrade_tasks.sharing import record

    monkeypatch.setattr(record, "open_storage", lambda: threading.Event().wait(60))
    monkeypatch.setenv("ETRADE_DEADLINE", "2")
    simulator.plant(Fault(status=503), path=RENEW, times=20)
    with pytest.raises(RenewalFailed, match=r"The record of renewals could not be read \(no answer within"):
        renew_access_token(block)


def test_storage_block_that_is_not_there_is_named(block: str) -> None:
    """If Prefect cannot load its result storage, the error names the block."""
    with (
        temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/not-there"}),
        pytest.raises(PrefectUnavailable, match="local-file-system/not-there"),
    ):
        active_session(block)


def test_signing_out_ends_the_record(
    simulator: Simulator, block: str, credentials: ETradeCredentials
) -> None:
    """After a sign-out, the last renewal is not reused, even if somebody puts the token back."""
    renew_access_token(block)
    sign_out(block)
    credentials.save(block, overwrite=True)
    with pytest.raises(SignInRequired):
        renew_access_token(block)
