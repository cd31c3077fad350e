"""How long a consumer key still works."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from etrade_tasks.key_age import key_warning, lapses_on
from etrade_tasks.session import EASTERN

ISSUED = date(2025, 7, 15)
LAPSES = date(2027, 7, 15)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=EASTERN)


@pytest.mark.parametrize(
    ("issued", "lapses"),
    [
        (ISSUED, LAPSES),
        (date(2024, 2, 29), date(2026, 3, 1)),
        (date(2026, 2, 28), date(2028, 2, 28)),
        (date(2025, 12, 31), date(2027, 12, 31)),
        (date(9998, 5, 1), date(9999, 5, 1)),
    ],
)
def test_key_lapses_two_years_after_its_issue(issued: date, lapses: date) -> None:
    """A key lapses on the same day two years later, or on the next day if there is no such day."""
    assert lapses == lapses_on(issued)


def test_key_of_unknown_age_is_not_spoken_of() -> None:
    """Without a known date of issue there is no warning."""
    assert key_warning(None, noon(LAPSES)) is None


@pytest.mark.parametrize(
    ("days_left", "told"),
    [
        (31, None),
        (30, "in 30 days, on 2027-07-15"),
        (1, "in 1 day, on 2027-07-15"),
        (0, "turned two years old on 2027-07-15"),
        (-9, "turned two years old on 2027-07-15"),
    ],
)
def test_warning_begins_thirty_days_before(days_left: int, told: str | None) -> None:
    """The warning begins thirty days before the key lapses, and stays."""
    said = key_warning(ISSUED, noon(LAPSES - timedelta(days=days_left)))
    assert told == said if told is None else told in str(said)


def test_days_are_eastern_ones() -> None:
    """The days are Eastern ones: at night in London it is still the day before at E*TRADE."""
    assert "in 1 day," in str(key_warning(ISSUED, datetime(2027, 7, 15, 2, tzinfo=UTC)))
