"""Whose turn it is: what a waiting caller accepts from others, and how long it waits."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials, ETradeError, RenewalFailed, SignInRequired, time_limit
from etrade_tasks.settings import RenewalSettings
from etrade_tasks.sharing import turn as turn_module
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.locks import FileLocks
from etrade_tasks.sharing.record import Record, Records, record_key
from etrade_tasks.sharing.turn import POLL_SECONDS, Shared

pytestmark = pytest.mark.usefixtures("folder", "watch")

Asks = Callable[..., Shared]
Act = Callable[..., None]

DEADLINE = timedelta(seconds=60)
FAILED = RenewalFailed("E*TRADE is down.", advice="wait")
REFUSED = SignInRequired("It is over.")


@pytest.fixture
def asks(credentials: ETradeCredentials, tmp_path: Path) -> Asks:
    """Makes a caller that asks for the renewal."""
    settings = RenewalSettings(lock_directory=tmp_path / "locks", deadline=DEADLINE)

    def make(*, force: bool = False) -> Shared:
        return Shared(credentials, Effort("any", settings, started_at=0.0), force)

    return make


@pytest.fixture
def failed(credentials: ETradeCredentials) -> Act:
    """Notes another caller's failed attempt, as `Shared.note` does."""

    def note(next_in: float | None) -> None:
        found = Records().read(credentials)
        Records().write(credentials, found.failed(FAILED, next_in))

    return note


@pytest.fixture
def hold(credentials: ETradeCredentials, tmp_path: Path) -> Iterator[Act]:
    """Holds the lock of the turn for another caller, or that of the next in line."""
    with ExitStack() as held:

        def take(suffix: str = "") -> None:
            lock = FileLocks(tmp_path / "locks").try_lock(record_key(credentials) + suffix)
            assert lock is not None
            held.callback(lock.release)

        yield take


def test_forced_renewal_takes_one_made_since_and_none_of_before(
    asks: Asks, renewed: Act, failed: Act
) -> None:
    """A forced caller reuses what is renewed after it has asked, but no older renewal beside a failure."""
    renewed()
    shared = asks(force=True)
    failed(1.0)
    shared.look()
    assert shared.answer is None
    renewed()
    shared.look()
    assert shared.answer is not None


def test_failure_of_before_is_nobody_s(asks: Asks, failed: Act) -> None:
    """A caller that asks after another's failure makes its own attempt."""
    failed(None)
    with asks().turn():
        pass


def test_failure_is_shared_once_it_ends(asks: Asks, failed: Act) -> None:
    """A caller that asked before another failed gets the same error, but only once that one gives up."""
    shared = asks()
    failed(1.0)
    shared.look()
    failed(None)
    with pytest.raises(RenewalFailed, match="is down"), shared.turn():
        pass


@pytest.mark.parametrize(
    ("error", "trouble", "in_force"),
    [(FAILED, None, True), (REFUSED, None, False), (REFUSED, "The record could not be read.", False)],
)
def test_only_a_refusal_ends_an_earlier_renewal(
    *, asks: Asks, renewed: Act, error: ETradeError, trouble: str | None, in_force: bool
) -> None:
    """A failure leaves the last renewal to others; a refusal ends it, even if the storage was slow before."""
    renewed()
    shared = asks(force=True)
    shared._records.trouble = trouble
    shared.note(error)
    assert in_force == (asks().answer is not None)


@pytest.mark.parametrize(("held", "calls"), [([""], 2), (["", " next in line"], 1)])
def test_holder_without_a_sign_of_life_leaves_time_for_a_call(
    asks: Asks, hold: Act, held: list[str], calls: int
) -> None:
    """Behind a stopped holder, a caller keeps two calls' time if it gets the second lock, or else one's."""
    for suffix in held:
        hold(suffix)
    shared = asks()
    with shared.turn():
        left = pytest.approx(calls * shared.effort.reserve, abs=2 * POLL_SECONDS)
        assert shared.effort.remaining() == left


def test_holder_that_lives_is_waited_for_to_the_end(asks: Asks, hold: Act, failed: Act) -> None:
    """A caller that waits for a holder that still tries shares its failure in the end, without a call."""
    hold()
    shared = asks()
    failed(DEADLINE.total_seconds())
    with pytest.raises(RenewalFailed, match="is down"), shared.turn():
        pytest.fail("went ahead of a holder that lives")
    assert shared.effort.remaining() <= 0


def test_holder_that_stops_trying_is_not_waited_for(asks: Asks, hold: Act, failed: Act) -> None:
    """A holder whose next attempt is overdue counts as stopped."""
    hold()
    shared = asks()
    failed(1.0)
    with shared.turn():
        assert shared.effort.remaining() > 0


def test_threads_of_one_process_leave_each_other_time_for_a_call(
    asks: Asks,
    credentials: ETradeCredentials,
    monkeypatch: pytest.MonkeyPatch,
    watch: Any,
) -> None:
    """A thread stops waiting for another while there is still time for its own call."""
    held = threading.Lock()
    held.acquire()
    monkeypatch.setitem(turn_module._threads, record_key(credentials), held)
    shared = asks()
    with shared.turn():
        pass
    waited = DEADLINE.total_seconds() - shared.effort.reserve
    assert waited <= watch.seconds < waited + 2 * time_limit.POLL_SECONDS


def test_record_that_appears_while_the_lock_is_taken_is_found(
    asks: Asks, renewed: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that gets the lock reads the record again, because the last holder may have renewed."""
    shared = asks()

    class Locks:
        def try_lock(self, key: str) -> object:
            renewed()
            return type("Held", (), {"release": lambda self: None})()

    monkeypatch.setattr(turn_module, "locks_for", lambda settings: Locks())
    with shared.turn():
        assert shared.answer is not None


def test_clock_is_known_from_the_last_renewal(
    asks: Asks, simulator: Simulator, renewed: Act, folder: Path
) -> None:
    """The next renewal starts with what the last one learned about the clock, if that is worth a warning."""
    renewed()
    path = next(folder.glob("etrade-session-*"))
    record = Record.model_validate_json(path.read_bytes())
    supposed = {}
    for seconds in (30, 300):
        recorded_at = record.session.renewed_at - timedelta(seconds=seconds)
        path.write_text(record.model_copy(update={"recorded_at": recorded_at}).model_dump_json())
        supposed[seconds] = asks().effort.clock_offset
    assert {30: timedelta(0), 300: timedelta(seconds=300)} == supposed
