"""Times as people read them. All are US Eastern, because that zone's midnight ends a session. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from etrade_tasks.session import EASTERN, in_utc


def eastern_words(instant: datetime) -> str:
    """The date and time for people to read, such as `2027-06-15 09:00 US Eastern`.

    Raises:
        ValueError: `instant` is naive.
    """
    return f"{in_utc(instant).astimezone(EASTERN):%Y-%m-%d %H:%M} US Eastern"


def clock(instant: datetime) -> str:
    """The wall-clock time US Eastern, such as `14:10`."""
    return f"{in_utc(instant).astimezone(EASTERN):%H:%M}"


def date_words(instant: datetime) -> str:
    """The Eastern date, such as `Fri 15 Jan 2027`."""
    eastern = in_utc(instant).astimezone(EASTERN)
    return f"{eastern:%a} {eastern.day} {eastern:%b} {eastern.year}"


def hours(span: timedelta) -> str:
    """A length of time, such as `2 h 05 min`."""
    minutes = round(span.total_seconds() / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
