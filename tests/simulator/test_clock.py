"""The simulator's clock."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from etrade_simulator import SimulatorClock

NOON = datetime(2025, 7, 1, 12, 0, tzinfo=UTC)


def test_a_frozen_clock_stands_still() -> None:
    """A frozen clock gives the same moment however often it is read."""
    clock = SimulatorClock.frozen(NOON)
    assert [NOON, NOON] == [clock(), clock()]


def test_advancing_moves_the_clock_by_exactly_that() -> None:
    """Advancing a frozen clock moves it by the time given and no more."""
    clock = SimulatorClock.frozen(NOON)
    clock.advance(timedelta(hours=3))
    assert NOON + timedelta(hours=3) == clock()


def test_setting_moves_the_clock_to_the_moment() -> None:
    """A frozen clock set to a moment stands at that moment, earlier ones too."""
    clock = SimulatorClock.frozen(NOON)
    clock.set_time(NOON - timedelta(days=400))
    assert NOON - timedelta(days=400) == clock()


def test_a_clock_without_a_start_tells_real_time() -> None:
    """By default the clock agrees with the machine's."""
    before = datetime.now(UTC)
    told = SimulatorClock()()
    assert before <= told <= datetime.now(UTC)


def test_a_clock_with_a_start_runs_on_from_there() -> None:
    """A started clock ticks: a later reading is never earlier, and never far from the start."""
    clock = SimulatorClock(NOON)
    first, second = clock(), clock()
    assert NOON <= first <= second < NOON + timedelta(minutes=1)


def test_the_clock_speaks_utc() -> None:
    """A moment given in another zone comes back as the same moment in UTC."""
    eastern = timezone(timedelta(hours=-4))
    told = SimulatorClock.frozen(datetime(2025, 7, 1, 8, 0, tzinfo=eastern))()
    assert (NOON, UTC) == (told, told.tzinfo)


@pytest.mark.parametrize("use", [SimulatorClock, SimulatorClock.frozen, SimulatorClock().set_time])
def test_a_moment_without_a_zone_is_refused(use: object) -> None:
    """A naive datetime is an error and not a guess."""
    with pytest.raises(ValueError, match="no time zone"):
        use(datetime(2025, 7, 1, 12, 0))  # noqa: DTZ001  # the very thing under test
