"""Whether the doctor finds a schedule that lets the token go idle, also on days when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import DeploymentSchedule

from etrade_flows.health.findings import Health
from etrade_flows.health.schedule import Gap, days_to_look_at, judge_gap, worst_gap
from etrade_tasks.session import REUSE_WINDOW

from .findings import expect

ORDINARY, SPRING, AUTUMN = date(2027, 6, 15), date(2028, 3, 12), date(2027, 11, 7)
EASTERN = "America/New_York"
HOURLY = {"cron": "0 1-23 * * *", "timezone": EASTERN}
REPEATED_HOUR = {"cron": "0 6 1-7 11 0", "day_or": False, "timezone": "UTC"}


def schedules(*each: dict[str, Any]) -> list[DeploymentSchedule]:
    return [DeploymentSchedule.model_validate({"schedule": schedule}) for schedule in each]


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_next_week_and_both_clock_changes_are_looked_at(noon: datetime) -> None:
    """The doctor looks at the next eight days, the next day of 25 hours and the next of 23."""
    week = [date(2027, 6, 15) + timedelta(days=n) for n in range(8)]
    assert [*week, AUTUMN, SPRING] == days_to_look_at(noon)


def test_today_is_the_eastern_day() -> None:
    """Late in the evening in New York, when UTC is a day ahead, the first day is still today there."""
    assert ORDINARY == days_to_look_at(datetime(2027, 6, 16, 3, 30, tzinfo=UTC))[0]


@pytest.mark.parametrize("day", [ORDINARY, SPRING, AUTUMN], ids=["ordinary", "spring", "autumn"])
def test_both_schedules_of_the_package_are_safe(day: date) -> None:
    """The hourly cron and the one for the repeated hour leave gaps of an hour at most on any kind of day."""
    gap = worst_gap(schedules(HOURLY, REPEATED_HOUR), [day])
    assert minutes(60) == gap.length
    expect(judge_gap(gap, REUSE_WINDOW), Health.OK)


def test_hourly_cron_alone_fails_when_the_clocks_go_back() -> None:
    """Cron skips the hour that comes twice, and the finding says on which night the token goes idle."""
    gap = worst_gap(schedules(HOURLY), [ORDINARY, SPRING, AUTUMN])
    assert Gap(minutes(120), datetime(2027, 11, 7, 5, tzinfo=UTC)) == gap
    expect(judge_gap(gap, REUSE_WINDOW), Health.PROBLEM, says="2027-11-07 01:00 US Eastern")


@pytest.mark.parametrize("day", [ORDINARY, SPRING, AUTUMN], ids=["ordinary", "spring", "autumn"])
@pytest.mark.parametrize(
    "hourly",
    [
        {"interval": 3600, "anchor_date": "2027-01-01T00:30:00Z"},
        {"rrule": "DTSTART:20270101T000000\nFREQ=HOURLY", "timezone": "UTC"},
    ],
    ids=["interval", "rrule"],
)
def test_every_kind_of_schedule_counts(hourly: dict[str, Any], day: date) -> None:
    """Schedules by interval and by recurrence rule count too, and run every elapsed hour."""
    assert minutes(60) == worst_gap(schedules(hourly), [day]).length


def test_schedules_count_together() -> None:
    """Two schedules that each run too rarely can be safe together."""
    even = {"cron": "0 */2 * * *", "timezone": EASTERN}
    odd = {"cron": "0 1-23/2 * * *", "timezone": EASTERN}
    assert minutes(120) == worst_gap(schedules(even), [ORDINARY]).length
    assert minutes(60) == worst_gap(schedules(even, odd), [ORDINARY]).length


def test_gap_across_midnight_harms_none() -> None:
    """The pause of a schedule at night does not count, because the session ends at midnight anyway."""
    office = {"cron": "0 8-16 * * *", "timezone": EASTERN}
    assert minutes(60) == worst_gap(schedules(office), [ORDINARY, ORDINARY + timedelta(days=1)]).length


def test_more_runs_than_prefect_gives_at_once() -> None:
    """A schedule of every minute is read to the day's end, past the thousand dates that Prefect gives."""
    every_minute = {"cron": "* 0-20 * * *", "timezone": EASTERN}
    gap = worst_gap(schedules(every_minute, {"cron": "59 23 * * *", "timezone": EASTERN}), [ORDINARY])
    assert Gap(minutes(180), datetime(2027, 6, 16, 0, 59, tzinfo=UTC)) == gap


@pytest.mark.parametrize(
    ("gap", "window", "verdict"),
    [(69, 50, Health.OK), (70, 50, Health.PROBLEM), (60, 59, Health.OK), (60, 60, Health.PROBLEM)],
)
def test_gap_and_reuse_window_together_stay_under_the_limit(gap: int, window: int, verdict: Health) -> None:
    """A run that reuses an earlier renewal renews nothing, so the reuse window adds to the gap."""
    found = Gap(minutes(gap), datetime(2027, 6, 15, 12, tzinfo=UTC))
    assert verdict is judge_gap(found, minutes(window)).verdict


def test_one_run_a_day_is_too_rare() -> None:
    """A schedule with one run a day is a problem, although it has no gap to measure."""
    daily = schedules({"cron": "0 9 * * *", "timezone": EASTERN})
    expect(judge_gap(worst_gap(daily, [ORDINARY, AUTUMN]), REUSE_WINDOW), Health.PROBLEM)
