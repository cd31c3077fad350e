"""What one way to get a session learns about a token, every other way knows too."""

import subprocess
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
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_TASKS_DISABLE_CACHING,
    PREFECT_TASKS_REFRESH_CACHE,
    get_current_settings,
    temporary_settings,
)
from prefect.transactions import transaction

from etrade_flows import active_session, etrade_client, renew_access_token
from etrade_flows.access import memory
from etrade_flows.access.memory import LOOK_SECONDS, forget_sessions
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, RenewalFailed, SessionTooShort, SignInRequired, TokenSession
from etrade_tasks.clock import use_clock
from etrade_tasks.renew_session import renew_shared
from etrade_tasks.sharing import record
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.locks import FileLocks
from etrade_tasks.sharing.record import Record, Records, record_key
from etrade_tasks.sharing.turn import Shared

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"
REJECTED = Fault(status=401, body="oauth_problem=token_rejected")

CredentialsFor = Callable[..., ETradeCredentials]


def renewals(simulator: Simulator) -> int:
    return len(simulator.calls(RENEW))


def _refused_by_force(simulator: Simulator, block: str) -> None:
    renew_access_token(block, force=True)


def _refused_by_a_client(simulator: Simulator, block: str) -> None:
    with etrade_client(block) as client:
        simulator.plant(Fault(status=401, body="oauth_problem=token_expired"), path="list.json")
        client.get("/v1/accounts/list.json")


@pytest.mark.parametrize(
    ("refused_at", "door"), [(_refused_by_force, active_session), (_refused_by_a_client, renew_access_token)]
)
def test_refusal_ends_what_every_door_knows(
    simulator: Simulator, block: str, refused_at: Callable[..., object], door: Callable[..., TokenSession]
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
    simulator: Simulator, block: str, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    """A refusal in another process, with the same home and server, clears this one's memory at once."""
    active_session(block)
    simulator.timestamp_tolerance = timedelta(days=3650)  # that process uses the machine's clock
    simulator.plant(REJECTED, path=RENEW)
    asks = "import sys, etrade_flows; etrade_flows.renew_access_token(sys.argv[1], force=True)"
    _, errors = start_python("-c", asks, block).communicate(timeout=120)
    assert "SignInRequired" in errors
    simulator.plant(REJECTED, path=RENEW)
    with pytest.raises(SignInRequired):
        active_session(block)


def test_sign_out_elsewhere_ends_this_memory(
    simulator: Simulator, block: str, credentials: ETradeCredentials
) -> None:
    """Once another process has ended the record, as a sign-out does, this one's memory no longer answers."""
    active_session(block)
    Records().end(credentials)
    assert active_session(block).reused is False


def test_refusal_ends_a_memory_that_was_not_recorded(
    simulator: Simulator, block: str, credentials: ETradeCredentials, wait_until: Callable[..., None]
) -> None:
    """A refusal that another process records also ends a remembered renewal that was never recorded."""
    with temporary_settings({PREFECT_TASKS_DISABLE_CACHING: True}):
        active_session(block)
    Shared(credentials, Effort(block)).note(SignInRequired("It is over."))
    wait_until(lambda: active_session(block).reused is False, seconds=LOOK_SECONDS + 20)


@pytest.mark.essential
def test_new_sign_in_begins_afresh(simulator: Simulator, block: str, credentials_for: CredentialsFor) -> None:
    """A refusal ends the record of that token only: a new sign-in renews and is reused."""
    simulator.plant(REJECTED, path=RENEW)
    with pytest.raises(SignInRequired):
        renew_access_token(block)
    credentials_for(simulator.sign_in("live")).save(block, overwrite=True)
    assert renew_access_token(block).reused is False
    assert renew_access_token(block).reused is True


def test_memory_is_of_the_token_that_the_block_holds(
    simulator: Simulator, block: str, credentials_for: CredentialsFor
) -> None:
    """Once a block holds another token or environment, the old token's session is no longer returned."""
    active_session(block)
    other = credentials_for(simulator.sign_in("sandbox"))
    other.save(block, overwrite=True)
    session = active_session(block)
    assert (other.fingerprint, False) == (session.fingerprint, session.reused)
    assert "sandbox" == session.environment


def test_edit_in_the_ui_is_seen_soon(
    simulator: Simulator, block: str, credentials_for: CredentialsFor, wait_until: Callable[..., None]
) -> None:
    """A block that somebody edits elsewhere is looked at again within a second."""
    active_session(block)
    token = simulator.sign_in("live")
    form = {"access_token": token.token, "access_token_secret": token.token_secret}
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(block, ETradeCredentials.get_block_type_slug())
        edit = {"data": form, "merge_existing_data": True}
        client._client.patch(f"/block_documents/{document.id}", json=edit).raise_for_status()
    new = credentials_for(token).fingerprint
    wait_until(lambda: new == active_session(block).fingerprint, seconds=LOOK_SECONDS + 20)


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
        context.run(lambda: Records().write(credentials, Record.of(session)))
        return handle(*call)

    monkeypatch.setattr(simulator._service, "handle", another_goes_ahead)
    simulator.plant(Fault(status=503), path=RENEW)
    found = renew_access_token(block)
    assert (True, 1, 1) == (found.reused, found.attempts, renewals(simulator))


def test_bare_status_is_believed_the_second_time(simulator: Simulator, block: str) -> None:
    """A page that says nothing but its status is asked once more, and believed if it comes again."""
    simulator.plant(Fault(status=404, body="<h1>Sorry</h1>"), path=RENEW)
    assert 2 == active_session(block).attempts
    simulator.advance(timedelta(minutes=51))
    simulator.plant(Fault(status=401, body="<h1>Sorry</h1>"), path=RENEW, times=2)
    with pytest.raises(SignInRequired, match="status 401"):
        active_session(block)
    assert 4 == renewals(simulator)


@pytest.mark.parametrize("ahead", [timedelta(minutes=75), timedelta(minutes=-75)])
def test_session_is_dated_by_e_trade_s_clock(simulator: Simulator, block: str, ahead: timedelta) -> None:
    """With a wrong clock a renewal still gets the right date, and it is not reused after the reuse window."""
    with use_clock(lambda: simulator.now() + ahead):
        session = renew_access_token(block)
    assert abs(session.renewed_at - simulator.now()) < timedelta(minutes=1)
    assert session.idle_at == session.renewed_at + timedelta(hours=2)
    simulator.advance(timedelta(minutes=51))
    assert renew_access_token(block).reused is False


def test_clock_that_was_wrong_ends_no_session_by_itself(simulator: Simulator, block: str) -> None:
    """A machine that is known to be hours ahead asks E*TRADE before it calls a session over."""
    with use_clock(lambda: simulator.now() + timedelta(hours=3)):
        renew_access_token(block)
        simulator.advance(timedelta(hours=10))
        assert renew_access_token(block).reused is False


def test_clock_that_is_behind_carries_no_session_past_midnight(simulator: Simulator, block: str) -> None:
    """A machine that is known to be behind calls no session active after E*TRADE's midnight."""
    with use_clock(lambda: simulator.now() - timedelta(minutes=75)):
        simulator.advance(timedelta(hours=11, minutes=30))
        active_session(block)
        simulator.advance(timedelta(minutes=31))
        with pytest.raises(SignInRequired):
            active_session(block)


def test_clock_that_is_set_right_ends_no_session_before_its_midnight(
    simulator: Simulator, block: str
) -> None:
    """After the clock is set right, its earlier error does not end a session that has hours left."""
    with use_clock(lambda: simulator.now() - timedelta(hours=3)):
        active_session(block)
    simulator.advance(timedelta(hours=10))
    assert active_session(block).reused is False


def test_session_that_proves_too_short_is_refused(simulator: Simulator, block: str) -> None:
    """If a slow clock hides that midnight is near, the renewal itself shows that the session is too short."""
    simulator.advance(timedelta(hours=10))
    with (
        use_clock(lambda: simulator.now() - timedelta(hours=3)),
        pytest.raises(SessionTooShort, match="in 2 h 00 min, and 4 h 00 min are needed"),
    ):
        renew_access_token(block, required_for=timedelta(hours=4))


def test_refusal_that_stays_is_not_hammered(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a nonce stays refused, it is tried again once at once, and then with longer waits."""
    monkeypatch.setenv("ETRADE_FIRST_BACKOFF", "10")
    monkeypatch.setenv("ETRADE_DEADLINE", "8")
    simulator.plant(Fault(status=401, body="oauth_problem=nonce_used"), path=RENEW, times=20)
    with pytest.raises(RenewalFailed):
        renew_access_token(block)
    assert 2 == renewals(simulator)


class Broken(Exception):
    """The error that a user's own code raises."""


def test_renewal_inside_of_a_task_is_shared_at_once(simulator: Simulator, block: str) -> None:
    """Others reuse a renewal during the task and the transaction that made it, and after both have failed."""
    renewed, go_on = threading.Event(), threading.Event()

    @task
    def works() -> None:
        with transaction(key=f"users-own-{block}"):
            active_session(block)
            renewed.set()
            assert go_on.wait(60)
            raise Broken

    @flow
    def pipeline() -> None:
        works()

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


def test_call_is_made_though_waiting_used_up_the_time(
    simulator: Simulator, block: str, credentials: ETradeCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that hangs and a lock that stays held leave time for one call, which renews."""
    monkeypatch.setattr(record, "open_storage", lambda: threading.Event().wait(60))
    monkeypatch.setattr(memory, "_LOOK_LIMIT", 0.1)
    monkeypatch.setenv("ETRADE_DEADLINE", "2")
    held = FileLocks(get_current_settings().home / "etrade-locks").try_lock(record_key(credentials))
    try:
        assert renew_access_token(block).reused is False
    finally:
        held.release()
    assert 1 == renewals(simulator)


def test_slow_storage_is_named(simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the renewal then fails too, the error says that the storage did not answer."""
    monkeypatch.setattr(record, "open_storage", lambda: threading.Event().wait(60))
    monkeypatch.setenv("ETRADE_DEADLINE", "2")
    simulator.plant(Fault(status=503), path=RENEW, times=20)
    with pytest.raises(RenewalFailed, match=r"The record of renewals could not be read \(no answer within"):
        renew_access_token(block)
