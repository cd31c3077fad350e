"""When the renewal runs by prefect.yaml: often enough, in elapsed time, on every day of the year."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from prefect.server.schemas.schedules import CronSchedule

from etrade_tasks.session import EASTERN, IDLE_LIMIT, REUSE_WINDOW, midnight_after


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


@pytest.mark.parametrize("year", [2026, 2027])  # clocks go back on November 1st and 7th
def test_every_hour_of_a_year_but_midnight_has_a_run(configured: dict[str, Any], year: int) -> None:
    """A run starts at every full hour, on days of 23, 24 and 25 hours, except when a session ends."""
    (start, _), (end, _) = session(date(year, 1, 1)), session(date(year + 1, 1, 1))
    hours = [start + timedelta(hours=n) for n in range((end - start) // timedelta(hours=1))]
    found = runs(schedules(configured, "hourly"), start, end)
    assert [hour for hour in hours if hour.astimezone(EASTERN).hour] == found


def test_reuse_window_and_an_hour_fit_the_idle_limit() -> None:
    """After a run that reuses a renewal, the next run renews before the token goes idle."""
    assert REUSE_WINDOW + timedelta(hours=1) <= IDLE_LIMIT


@pytest.mark.parametrize("day", [date(2027, 6, 15), date(2027, 3, 15), date(2027, 11, 8)])
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
    found = runs(both, datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC))
    assert {0, 1, 2, 3, 4} == {run.astimezone(EASTERN).weekday() for run in found}
