"""How long a consumer key still works. Pure: no I/O, no Prefect.

E*TRADE lets a consumer key lapse without notice about two years after its issue, and then refuses every
signed call as `consumer_key_rejected`. It does not say when a key was issued, so a person has to.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from etrade_tasks.session import eastern_date

KEY_YEARS = 2
"""How many years after their issue consumer keys have stopped working."""

WARNING_PERIOD = timedelta(days=30)
"""How long before that a person is warned."""


def lapses_on(issued_on: date) -> date:
    """The Eastern date on which a key is two years old; 1 March if it was issued on 29 February."""
    year = min(issued_on.year + KEY_YEARS, date.max.year)  # a mistyped date must not stop a renewal
    try:
        return issued_on.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def key_warning(issued_on: date | None, at: datetime) -> str | None:
    """The warning about a key's age, in one sentence; None if it is too early for one.

    Args:
        issued_on: When E*TRADE issued the consumer key; None if that is not known.
        at: The current time.
    """
    if issued_on is None:
        return None
    lapses = lapses_on(issued_on)
    left = lapses - eastern_date(at)
    if left > WARNING_PERIOD:
        return None
    if left.days <= 0:
        return f"The consumer key turned two years old on {lapses}: E*TRADE may refuse it from now on."
    days = "1 day" if left.days == 1 else f"{left.days} days"
    return f"The consumer key will be two years old in {days}, on {lapses}; E*TRADE then lets it lapse."


KEY_ADVICE = (
    "request a new consumer key from E*TRADE, and save it in the block with its date of issue, before the "
    "old one lapses."
)
"""What a person does about a consumer key that is about to lapse."""
