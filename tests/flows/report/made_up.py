"""Days of a session, for the tests of what is shown of them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from etrade_flows.report.day import SessionDay
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_tasks.session import EASTERN

RENEWED, REUSED, SIGN_IN_REQUIRED, FAILED, TOO_SHORT = AttemptOutcome
DATE = "2027-01-15"
BERLIN = ZoneInfo("Europe/Berlin")
SVG = "{http://www.w3.org/2000/svg}"


def at(text: str, date: object = DATE) -> datetime:
    """This wall-clock time in New York, on this date."""
    return datetime.fromisoformat(f"{date} {text}").replace(tzinfo=EASTERN)


def attempt(
    when: str | datetime,
    outcome: AttemptOutcome = RENEWED,
    detail: str = "Done.",
    took: timedelta | None = None,
) -> Attempt:
    """One attempt with this outcome."""
    return Attempt(at(when) if isinstance(when, str) else when, outcome, detail, took)


def a_day(
    *attempts: Attempt | str, signed_in: str | datetime | None = "08:00", **changes: object
) -> SessionDay:
    """A day with these attempts, or renewals at these times, after a sign-in at eight that was confirmed."""
    signed_in_at = at(signed_in) if isinstance(signed_in, str) else signed_in
    made = tuple(attempt(each) if isinstance(each, str) else each for each in attempts)
    return dataclasses.replace(SessionDay(signed_in_at, signed_in_at, None, made), **changes)


def signed_out(*attempts: Attempt | str) -> SessionDay:
    """A day with these attempts whose credentials hold no token any more."""
    return dataclasses.replace(a_day(*attempts, signed_in=None), signed_in=False)


@st.composite
def days(draw: st.DrawFn) -> tuple[SessionDay, datetime]:
    """Any day, plausible or not, and a moment to look at it."""
    first, last = datetime(2007, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001  # Hypothesis adds the zone
    now = draw(st.datetimes(first, last, timezones=st.sampled_from([UTC, EASTERN, BERLIN])))
    near = st.timedeltas(timedelta(hours=-30), timedelta(hours=30)).map(lambda span: now + span)
    maybe = st.none() | near
    took = st.none() | st.timedeltas(timedelta(0), timedelta(days=2))
    attempts = st.builds(Attempt, near, st.sampled_from(AttemptOutcome), st.text(), took)
    several = st.lists(attempts, max_size=40).map(tuple)
    return draw(st.builds(SessionDay, maybe, maybe, maybe, several, st.booleans())), now
