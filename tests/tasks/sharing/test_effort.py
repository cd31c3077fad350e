"""What one renewal may spend, and what it does with what it learns, on a clock that stands still."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etrade_tasks import RenewalFailed
from etrade_tasks.clock import use_clock
from etrade_tasks.oauth.http import CALL_LIMIT
from etrade_tasks.oauth.replies import Outcome, Verdict
from etrade_tasks.settings import RenewalSettings
from etrade_tasks.sharing.effort import CALL_MARGIN, Effort

NOON = datetime(2027, 6, 15, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def noon_on_the_machine(watch: Any) -> Iterator[None]:
    """Makes this machine's clock say noon."""
    with use_clock(lambda: NOON):
        yield


Make = Callable[..., Effort]


@pytest.fixture
def effort() -> Make:
    """Makes an effort that has just begun."""

    def make(seconds: float = 60, **fields: object) -> Effort:
        settings = RenewalSettings(deadline=timedelta(seconds=seconds))
        return Effort("any", settings, started_at=0.0, **fields)

    return make


@pytest.mark.parametrize(
    ("offset", "learned", "past"),
    [
        (HOUR, False, [True, False]),
        (HOUR, True, [True, True]),
        (-HOUR, False, [False, False]),
        (-HOUR, True, [False, False]),
        (timedelta(0), False, [True, False]),
    ],
)
def test_moment_is_past_by_the_earlier_of_two_clocks(
    effort: Make, offset: timedelta, learned: bool, past: list[bool]
) -> None:
    """A moment is past if both clocks say so, or by an offset that E*TRADE has just taught."""
    made = effort(clock_offset=offset, offset_is_learned=learned)
    assert past == [made.least_now() >= NOON + half for half in (-HOUR / 2, HOUR / 2)]


def test_offset_of_an_earlier_renewal_replaces_none_that_e_trade_has_just_taught(effort: Make) -> None:
    """An offset from an earlier renewal does not replace one that a call of this effort has taught."""
    made = effort(clock_offset=HOUR, offset_is_learned=True)
    made.suppose(-HOUR)
    assert made.clock_offset == HOUR


@pytest.mark.parametrize(
    ("deadline", "at", "limit"), [(60, 0, 15), (60, 50, 10), (60, 57, 6), (60, 900, 6), (0.5, 10, 1)]
)
def test_call_may_take_what_is_left_and_never_nothing(
    effort: Make, watch: Any, deadline: float, at: float, limit: float
) -> None:
    """A call gets what is left, at most `CALL_LIMIT`, and at least a tenth of the deadline and a second."""
    made = effort(deadline)
    watch.seconds = at
    assert made.call_limit() == timedelta(seconds=limit)


@pytest.mark.parametrize(
    ("deadline", "reserve"), [(3, 1), (60, CALL_LIMIT.total_seconds() + CALL_MARGIN)], ids=["short", "long"]
)
def test_call_of_one_s_own_is_kept_for(effort: Make, deadline: float, reserve: float) -> None:
    """The reserve is one call with its margin, or a third of a deadline that is too short for that."""
    assert effort(deadline).reserve == reserve


def test_bare_status_is_doubted_once(effort: Make) -> None:
    """A bare status is doubted the first time and believed the second; a named problem is never doubted."""
    bare = Verdict(Outcome.SIGN_IN_REQUIRED, advice="", bare=True)
    named = Verdict(Outcome.SIGN_IN_REQUIRED, advice="", problem="token_rejected")
    made = effort()
    assert [False, True, False, False] == [made.doubts(each) for each in (named, bare, named, bare)]


def test_refused_nonce_is_tried_again_at_once_the_first_time(effort: Make) -> None:
    """The first refused nonce or timestamp costs no wait, later ones back off, and E*TRADE's wait counts."""
    made = effort()
    busy = Verdict(Outcome.TRANSIENT, advice="", retry_after=timedelta(seconds=7))
    refusals = [Verdict(each, advice="") for each in (Outcome.NONCE_REFUSED, Outcome.CLOCK_SKEWED)]
    waits = [made.wait_for(each) for each in (busy, *refusals)]
    assert [timedelta(seconds=7), timedelta(0), None] == waits


def test_what_an_attempt_learns_is_kept_for_the_next(effort: Make) -> None:
    """After an attempt the effort keeps the clock's offset, and the failure in case time runs out."""
    made, failed = effort(), RenewalFailed("No.")
    made.learn(Verdict(Outcome.CLOCK_SKEWED, advice="", clock_offset=HOUR), failed)
    assert (HOUR, True, failed) == (made.clock_offset, made.offset_is_learned, made.last_error)
    assert made.now() == NOON + HOUR
