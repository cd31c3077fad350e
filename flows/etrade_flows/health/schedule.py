"""Checks whether the schedule keeps the token from going idle, on every kind of day."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

from prefect.client.schemas.objects import DeploymentSchedule
from prefect.server.schemas.schedules import SCHEDULE_TYPES
from pydantic import TypeAdapter

from etrade_flows.health.findings import Finding, ok, problem
from etrade_flows.report.day import day_bounds
from etrade_tasks.session import EASTERN, IDLE_LIMIT, eastern_date
from etrade_tasks.words import eastern_words

DAYS_AHEAD = 8
"""How many days are checked, so that each day of the week comes once in full."""

CLOCK_CHANGES = 2
"""How many more days are checked: the next one on which the clocks go forward, and the next one back."""

_DATES_AT_ONCE = 1000  # Prefect returns no more
_SERVER_SCHEDULE: TypeAdapter[SCHEDULE_TYPES] = TypeAdapter(SCHEDULE_TYPES)


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between one run and the next.

    Attributes:
        length: How long, as elapsed time.
        begins_at: The run that it follows, in UTC.
    """

    length: timedelta
    begins_at: datetime


def judge_gap(gap: Gap | None, reuse_window: timedelta) -> Finding:
    """What the longest gap means.

    A run that reuses an earlier renewal does not renew. So when the gap begins, the token may already have
    gone without a request for the reuse window.

    Args:
        gap: The longest gap of any day; None if no day has two runs.
        reuse_window: How long a renewal is reused.
    """
    remedy = "use both schedules of the deployment `hourly` in prefect.yaml"
    if gap is None:
        return problem("It runs at most once a day, but the token goes idle after two hours.", f"{remedy}.")
    says = (
        f"The longest gap between two runs of a day is {_minutes(gap.length)} min, "
        f"from {eastern_words(gap.begins_at)}; with the reuse window of {_minutes(reuse_window)} min"
    )
    if gap.length + reuse_window >= IDLE_LIMIT:
        return problem(
            f"{says} the token can go idle, which takes {_minutes(IDLE_LIMIT)} min.",
            f"{remedy}, or shorten ETRADE_REUSE_WINDOW.",
        )
    return ok(f"{says} it stays under the idle limit of {_minutes(IDLE_LIMIT)} min.")


def days_to_look_at(at: datetime) -> list[date]:
    """The next Eastern days, and the next ones that have 23 and 25 hours."""
    first = eastern_date(at)
    year_ahead = [first + timedelta(days=n) for n in range(1, 400)]
    changes = [day for day in year_ahead if _length(day) != timedelta(hours=24)][:CLOCK_CHANGES]
    return sorted({*(first + timedelta(days=n) for n in range(DAYS_AHEAD)), *changes})


def worst_gap(schedules: Iterable[DeploymentSchedule], days: Iterable[date]) -> Gap | None:
    """The longest gap between two runs of one Eastern day; None if no day has two.

    Midnight ends every session, so a gap across midnight does no harm. All schedules count together.
    """
    each_day = asyncio.run(_runs_by_day(list(schedules), days))
    gaps = (Gap(later - earlier, earlier) for runs in each_day for earlier, later in pairwise(runs))
    return max(gaps, default=None, key=lambda gap: gap.length)


async def _runs_by_day(schedules: list[DeploymentSchedule], days: Iterable[date]) -> list[list[datetime]]:
    """The runs of each day in order, in UTC, as the server's scheduler would make them."""
    # The client's schedules are only data; the server's know their dates.
    known = [_SERVER_SCHEDULE.validate_python(each.schedule.model_dump()) for each in schedules]
    return [sorted({run for each in known for run in await _runs(each, day)}) for day in days]


async def _runs(schedule: SCHEDULE_TYPES, day: date) -> list[datetime]:
    start, end = _limits(day)
    found: list[datetime] = []
    while some := await schedule.get_dates(n=_DATES_AT_ONCE, start=start, end=end):
        found += [run.astimezone(UTC) for run in some if run < end]
        start = some[-1] + timedelta(minutes=1)
    return found


def _limits(day: date) -> tuple[datetime, datetime]:
    """The midnights that begin and end a day, in UTC."""
    return day_bounds(datetime.combine(day, time(), tzinfo=EASTERN))


def _length(day: date) -> timedelta:
    start, end = _limits(day)
    return end - start


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g}"
