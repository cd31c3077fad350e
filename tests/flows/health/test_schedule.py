"""Whether the doctor finds a schedule that lets the token go idle, also on days when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import DeploymentSchedule

from etrade_flows.health.findings import Health
from etrade_flows.health.schedule import Gap, days_to_look_at, judge_gap, worst_gap
from etrade_tasks.session import REUSE_WINDOW

from .expecting import expect

ORDINARY, SPRING, AUTUMN = date(2027, 6, 15), date(2028, 3, 12), date(2027, 11, 7)
EASTERN = "America/New_York"
HOURLY = {"cron": "0 1-23 * * *", "timezone": EASTERN}
REPEATED_HOUR = {"cron": "0 6 1-7 11 0", "day_or": False, "timezone": "UTC"}
EVEN, ODD, OFFICE = (
    {"cron": cron, "timezone": EASTERN} for cron in ("0 */2 * * *", "0 1-23/2 * * *", "0 8-16 * * *")
)
BY_INTERVAL = {"interval": 3600, "anchor_date": "2027-01-01T00:30:00Z"}
BY_RULE = {"rrule": "DTSTART:20270101T000000\nFREQ=HOURLY", "timezone": "UTC"}
EVERY_KIND = [ORDINARY, SPRING, AUTUMN]


def schedules(*each: dict[str, Any]) -> list[DeploymentSchedule]:
    return [DeploymentSchedule.model_validate({"schedule": schedule}) for schedule in each]


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_next_week_and_both_clock_changes_are_looked_at() -> None:
    """The doctor looks at the next eight Eastern days, the next day of 25 hours and the next of 23."""
    week = [ORDINARY + timedelta(days=n) for n in range(8)]
    evening = datetime(2027, 6, 16, 3, 30, tzinfo=UTC)  # late in New York, when UTC is a day ahead
    assert [*week, AUTUMN, SPRING] == days_to_look_at(evening)


def test_hourly_cron_alone_fails_when_the_clocks_go_back() -> None:
    """Cron skips the hour that comes twice, and the finding says on which night the token goes idle."""
    gap = worst_gap(schedules(HOURLY), [ORDINARY, SPRING, AUTUMN])
    assert Gap(minutes(120), datetime(2027, 11, 7, 5, tzinfo=UTC)) == gap
    expect(judge_gap(gap, REUSE_WINDOW), Health.PROBLEM, says="2027-11-07 01:00 US Eastern")


@pytest.mark.parametrize(
    ("each", "days", "longest"),
    [
        pytest.param([HOURLY, REPEATED_HOUR], EVERY_KIND, 60, id="both schedules of the package"),
        pytest.param([BY_INTERVAL], EVERY_KIND, 60, id="an interval"),
        pytest.param([BY_RULE], EVERY_KIND, 60, id="a recurrence rule"),
        pytest.param([EVEN], [ORDINARY], 120, id="every two hours"),
        pytest.param([EVEN, ODD], [ORDINARY], 60, id="two schedules together"),
        pytest.param([OFFICE], [ORDINARY, ORDINARY + timedelta(days=1)], 60, id="a pause at night"),
    ],
)
def test_longest_gap(each: list[dict[str, Any]], days: list[date], longest: int) -> None:
    """Schedules of every kind count together, but no gap across midnight, which ends a session anyway."""
    assert minutes(longest) == worst_gap(schedules(*each), days).length


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
