"""When the renewal runs by prefect.yaml: often enough, in elapsed time, on every day of the year."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pytest
from prefect.server.schemas.schedules import CronSchedule

from etrade_tasks.session import EASTERN, IDLE_LIMIT, REUSE_WINDOW, midnight_after

SPRING, AUTUMN = date(2027, 3, 14), date(2027, 11, 7)
ORDINARY = date(2027, 6, 15)


def schedules(configured: dict[str, Any], deployment: str) -> list[CronSchedule]:
    """The schedules of a deployment, as the server understands them."""
    (found,) = (each for each in configured["deployments"] if each["name"] == deployment)
    fields = CronSchedule.model_fields
    return [CronSchedule(**{k: v for k, v in each.items() if k in fields}) for each in found["schedules"]]


def runs(schedules: list[CronSchedule], start: datetime, end: datetime) -> list[datetime]:
    """When the server would schedule runs from `start` until just before `end`, in UTC."""
    return sorted({run for schedule in schedules for run in asyncio.run(_dates(schedule, start, end))})


async def _dates(schedule: CronSchedule, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    # The server returns at most a thousand dates.
    while some := await schedule.get_dates(n=1000, start=start, end=end):
        found += [run.astimezone(UTC) for run in some if run < end]
        start = some[-1] + timedelta(minutes=1)
    return found


def session(day: date) -> tuple[datetime, datetime]:
    """The longest session of a day, in UTC: from its first instant to the next midnight Eastern."""
    start = datetime.combine(day, time(), tzinfo=EASTERN)
    return start.astimezone(UTC), midnight_after(start).astimezone(UTC)


def longest_gap(schedules: list[CronSchedule], day: date) -> timedelta:
    """The longest time without a run within a day's session, from sign-in to midnight."""
    start, end = session(day)
    return max(later - earlier for earlier, later in pairwise([start, *runs(schedules, start, end), end]))


@pytest.fixture
def hourly(configured: dict[str, Any]) -> list[CronSchedule]:
    """Both schedules of the deployment `hourly`."""
    return schedules(configured, "hourly")


@pytest.mark.parametrize(
    ("day", "hours"), [(ORDINARY, 24), (SPRING, 23), (AUTUMN, 25)], ids=["ordinary", "spring", "autumn"]
)
def test_every_hour_of_a_session_has_a_run(hourly: list[CronSchedule], day: date, hours: int) -> None:
    """A run starts at every full hour of a session, on days of 23, 24 and 25 hours."""
    start, end = session(day)
    assert [start + timedelta(hours=n) for n in range(1, hours)] == runs(hourly, start, end)


def test_the_second_schedule_adds_the_hour_that_comes_twice(hourly: list[CronSchedule]) -> None:
    """Without the second schedule the day on which clocks go back has a gap of two hours."""
    first, second = hourly
    assert timedelta(hours=2) == longest_gap([first], AUTUMN)
    assert [datetime(2027, 11, 7, 6, tzinfo=UTC)] == runs([second], *session(AUTUMN))


@pytest.mark.parametrize("day", [ORDINARY, SPRING, AUTUMN], ids=["ordinary", "spring", "autumn"])
def test_reuse_window_and_longest_gap_fit_the_idle_limit(hourly: list[CronSchedule], day: date) -> None:
    """After a run that reuses a renewal, the next run renews before the token goes idle."""
    assert REUSE_WINDOW + longest_gap(hourly, day) <= IDLE_LIMIT


@pytest.mark.parametrize("year", range(2026, 2030))
def test_no_day_of_a_year_has_a_longer_gap(hourly: list[CronSchedule], year: int) -> None:
    """On every day of four years the longest time without a run within a session is one hour."""
    days = [
        date(year, 1, 1) + timedelta(days=n) for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)
    ]
    midnights = sorted({instant for day in days for instant in session(day)})
    instants = sorted({*midnights, *runs(hourly, midnights[0], midnights[-1])})
    assert timedelta(hours=1) == max(later - earlier for earlier, later in pairwise(instants))


def test_the_repeated_hour_is_added_once_a_year(hourly: list[CronSchedule]) -> None:
    """The second schedule runs only on the days on which clocks go back."""
    found = runs([hourly[1]], datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC))
    assert 20 == len(found)
    assert [] == [run for run in found if _hours(run) != 25]
    # One hour earlier it was one o'clock in New York as well.
    assert [] == [
        run for run in found if {1} != {_eastern_hour(run), _eastern_hour(run - timedelta(hours=1))}
    ]


def test_nothing_is_renewed_at_midnight(hourly: list[CronSchedule]) -> None:
    """No run starts at midnight US Eastern, when a session has just ended."""
    found = runs(hourly, datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
    assert set(range(1, 24)) == {_eastern_hour(run) for run in found}


@pytest.mark.parametrize("day", [ORDINARY, date(2027, 3, 15), date(2027, 11, 8)])
def test_quotes_are_read_every_five_minutes_while_the_market_is_open(
    configured: dict[str, Any], day: date
) -> None:
    """Quotes are read from the opening to the close, both included, every five minutes."""
    opening = datetime.combine(day, time(9, 30), tzinfo=EASTERN).astimezone(UTC)
    expected = [opening + timedelta(minutes=5 * n) for n in range(79)]
    assert expected == runs(schedules(configured, "market-hours"), *session(day))


def test_pipelines_rest_at_the_weekend(configured: dict[str, Any]) -> None:
    """Neither example pipeline runs on a Saturday or a Sunday."""
    both = schedules(configured, "market-hours") + schedules(configured, "weeknights")
    found = runs(both, datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 12, 31, tzinfo=UTC))
    assert {0, 1, 2, 3, 4} == {run.astimezone(EASTERN).weekday() for run in found}


def _hours(run: datetime) -> int:
    """How many hours the Eastern day of a run has."""
    start, end = session(run.astimezone(EASTERN).date())
    return (end - start) // timedelta(hours=1)


def _eastern_hour(run: datetime) -> int:
    return run.astimezone(EASTERN).hour
