"""The simulator's clock."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from etrade_simulator import SimulatorClock

NOON = datetime(2025, 7, 1, 12, 0, tzinfo=UTC)


def test_a_clock_without_a_start_tells_real_time() -> None:
    """By default the clock agrees with the machine's."""
    before = datetime.now(UTC)
    told = SimulatorClock()()
    assert before <= told <= datetime.now(UTC)


def test_a_clock_with_a_start_runs_on_from_there() -> None:
    """A clock with a start runs on from it: later readings are never earlier, and close to the start."""
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
    """A naive datetime is refused."""
    with pytest.raises(ValueError, match="no time zone"):
        use(datetime(2025, 7, 1, 12, 0))  # noqa: DTZ001  # naive on purpose
