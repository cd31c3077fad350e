"""When the renewal runs by prefect.yaml: often enough, in elapsed time, on every day of the year."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import pytest

from etrade_tasks.session import EASTERN, IDLE_LIMIT, REUSE_WINDOW, midnight_after

Scheduled = Callable[[str, datetime, datetime], list[datetime]]


def session(day: date) -> tuple[datetime, datetime]:
    """The longest session of a day, in UTC: from its first instant to the next midnight Eastern."""
    start = datetime.combine(day, time(), tzinfo=EASTERN)
    return start.astimezone(UTC), midnight_after(start).astimezone(UTC)


@pytest.mark.parametrize("year", [2026, 2027])  # clocks go back on November 1st and 7th
def test_every_hour_of_a_year_but_midnight_has_a_run(scheduled: Scheduled, year: int) -> None:
    """A run starts at every full hour, on days of 23, 24 and 25 hours, except when a session ends."""
    (start, _), (end, _) = session(date(year, 1, 1)), session(date(year + 1, 1, 1))
    hours = [start + timedelta(hours=n) for n in range((end - start) // timedelta(hours=1))]
    assert [hour for hour in hours if hour.astimezone(EASTERN).hour] == scheduled("hourly", start, end)


def test_reuse_window_and_an_hour_fit_the_idle_limit() -> None:
    """After a run that reuses a renewal, the next run renews before the token goes idle."""
    assert REUSE_WINDOW + timedelta(hours=1) <= IDLE_LIMIT


@pytest.mark.parametrize("day", [date(2027, 6, 15), date(2027, 3, 15), date(2027, 11, 8)])
def test_quotes_are_read_every_five_minutes_while_the_market_is_open(scheduled: Scheduled, day: date) -> None:
    """Quotes are read from the opening to the close, both included, every five minutes."""
    opening = datetime.combine(day, time(9, 30), tzinfo=EASTERN).astimezone(UTC)
    expected = [opening + timedelta(minutes=5 * n) for n in range(79)]
    assert expected == scheduled("market-hours", *session(day))


def test_pipelines_rest_at_the_weekend(scheduled: Scheduled) -> None:
    """Neither example pipeline runs on a Saturday or a Sunday."""
    march = datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)
    found = scheduled("market-hours", *march) + scheduled("weeknights", *march)
    assert {0, 1, 2, 3, 4} == {run.astimezone(EASTERN).weekday() for run in found}
