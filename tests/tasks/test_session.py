"""The two clocks of an access token, above all on days that do not have 24 hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from etrade_tasks.session import (
    EASTERN,
    IDLE_LIMIT,
    SessionState,
    TokenSession,
    day_begins,
    eastern_date,
    in_utc,
    midnight_after,
)
from etrade_tasks.words import eastern_words

NOON = datetime(2027, 1, 15, 12, 0, tzinfo=EASTERN)
NAIVE = datetime(2027, 1, 15, 12, 0)  # noqa: DTZ001  # naive on purpose

ZONES = [
    EASTERN,
    ZoneInfo("America/Los_Angeles"),
    ZoneInfo("Asia/Kolkata"),
    ZoneInfo("Australia/Lord_Howe"),
    ZoneInfo("Europe/London"),
    ZoneInfo("Pacific/Kiritimati"),
    timezone(timedelta(hours=-23, minutes=-59)),
    timezone(timedelta(hours=14)),
]
# Since 2007, daylight saving begins and ends on its present days.
instants = st.datetimes(
    min_value=datetime(2007, 1, 1),  # noqa: DTZ001  # Hypothesis adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
zones = st.sampled_from(ZONES)
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3))


class Nowhere(tzinfo):
    """A zone without a UTC offset."""

    def utcoffset(self, _: datetime | None) -> None:
        """Return None."""


def utc(text: str) -> datetime:
    """This instant in UTC, written as in `2027-01-15 17:00`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def eastern(text: str, *, fold: int = 0) -> datetime:
    """A wall-clock time in New York; `fold=1` is the second of two equal ones."""
    return datetime.fromisoformat(text).replace(tzinfo=EASTERN, fold=fold)


def renewed_at_noon(**changes: object) -> TokenSession:
    """The session of a renewal at noon, with some fields changed."""
    fields = {
        "environment": "live",
        "fingerprint": "fake-fingerprint",
        "renewed_at": NOON,
        "idle_at": NOON + IDLE_LIMIT,
        "expires_at": midnight_after(NOON),
    }
    return TokenSession.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        pytest.param("2027-01-15 15:00", "2027-01-16 05:00", id="winter"),
        pytest.param("2027-07-01 15:00", "2027-07-02 04:00", id="summer"),
        pytest.param("2027-01-16 04:59:59.999999", "2027-01-16 05:00", id="a moment before midnight"),
        pytest.param("2027-01-16 05:00", "2027-01-17 05:00", id="at midnight"),
        pytest.param("2027-03-14 05:00", "2027-03-15 04:00", id="start of the 23-hour day"),
        pytest.param("2027-03-15 03:59", "2027-03-15 04:00", id="end of the 23-hour day"),
        pytest.param("2027-11-07 05:30", "2027-11-08 05:00", id="first half past one"),
        pytest.param("2027-11-07 06:30", "2027-11-08 05:00", id="second half past one"),
        pytest.param("2028-01-01 03:00", "2028-01-01 05:00", id="year end, already next year in UTC"),
        pytest.param("2028-02-28 17:00", "2028-02-29 05:00", id="before the leap day"),
    ],
)
def test_a_session_ends_at_the_next_eastern_midnight(instant: str, expected: str) -> None:
    """The midnight after an instant is the next one on New York's clocks."""
    assert utc(expected) == midnight_after(utc(instant)).astimezone(UTC)


@given(issued_at=instants, zone=zones)
def test_expiry_is_a_midnight_at_most_25_hours_after_issue(issued_at: datetime, zone: tzinfo) -> None:
    """A token expires at the end of its day of issue in New York, wherever it was issued."""
    expires_at = midnight_after(issued_at.astimezone(zone))
    assert (0, 0, 0, 0) == (expires_at.hour, expires_at.minute, expires_at.second, expires_at.microsecond)
    assert issued_at.astimezone(EASTERN).date() + timedelta(days=1) == expires_at.date()
    assert timedelta(0) < expires_at.astimezone(UTC) - issued_at <= timedelta(hours=25)


# Issued at noon; a token that was last used at 23:00 expires before its idle limit.
@pytest.mark.parametrize(
    ("last_used_at", "now", "expected"),
    [
        pytest.param("12:00", "2027-01-15 12:00", SessionState.ACTIVE, id="at issue"),
        pytest.param("12:00", "2027-01-15 13:59:59.999999", SessionState.ACTIVE, id="before the idle limit"),
        pytest.param("12:00", "2027-01-15 14:00", SessionState.IDLE, id="at the idle limit"),
        pytest.param("12:00", "2027-01-15 23:59:59", SessionState.IDLE, id="idle, before midnight"),
        pytest.param("12:00", "2027-01-16 00:00", SessionState.EXPIRED, id="idle, at midnight"),
        pytest.param("23:00", "2027-01-15 23:59:59.999999", SessionState.ACTIVE, id="before midnight"),
        pytest.param("23:00", "2027-01-16 00:00", SessionState.EXPIRED, id="active, at midnight"),
        pytest.param("23:00", "2027-01-17 12:00", SessionState.EXPIRED, id="days later"),
    ],
)
def test_the_instant_of_a_limit_counts_as_past(last_used_at: str, now: str, expected: SessionState) -> None:
    """A token is active until its idle limit and alive until midnight, and no longer at that instant."""
    session = renewed_at_noon(idle_at=eastern(f"2027-01-15 {last_used_at}") + IDLE_LIMIT)
    assert expected == session.state(eastern(now))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(eastern("2027-11-07 01:04", fold=1), SessionState.ACTIVE, id="before the idle limit"),
        pytest.param(eastern("2027-11-07 01:05", fold=1), SessionState.IDLE, id="at the idle limit"),
        pytest.param(eastern("2027-11-07 23:59"), SessionState.IDLE, id="last minute of the day"),
        pytest.param(eastern("2027-11-08 00:00"), SessionState.EXPIRED, id="midnight"),
    ],
)
def test_the_hour_that_happens_twice(now: datetime, expected: SessionState) -> None:
    """A token last used at 0:05 summer time goes idle at 1:05 winter time, and not an hour before."""
    issued_at = eastern("2027-11-07 00:05")
    idle_at = (issued_at.astimezone(UTC) + IDLE_LIMIT).astimezone(EASTERN)
    session = renewed_at_noon(idle_at=idle_at, expires_at=midnight_after(issued_at))
    assert expected == session.state(now)


@given(issued_at=instants, used=spans, later=spans, where=st.tuples(zones, zones, zones))
def test_the_zone_of_a_datetime_does_not_matter(
    issued_at: datetime, used: timedelta, later: timedelta, where: tuple[tzinfo, tzinfo, tzinfo]
) -> None:
    """The same instants give the same state, whatever their zones."""
    now, limits = issued_at + later, (issued_at + used, midnight_after(issued_at))
    found = {
        renewed_at_noon(idle_at=idle_at, expires_at=expires_at).state(at)
        for idle_at, expires_at, at in (
            (*limits, now),
            (limits[0].astimezone(where[0]), limits[1].astimezone(where[1]), now.astimezone(where[2])),
        )
    }
    assert 1 == len(found)


@pytest.mark.parametrize("naive", [NAIVE, NAIVE.replace(tzinfo=Nowhere())], ids=["no zone", "no offset"])
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(in_utc, id="in_utc"),
        pytest.param(midnight_after, id="midnight_after"),
        pytest.param(eastern_date, id="eastern_date"),
        pytest.param(eastern_words, id="eastern_words"),
        pytest.param(lambda naive: renewed_at_noon().state(naive), id="state of the session"),
    ],
)
def test_a_datetime_without_a_zone_is_refused(use, naive: datetime) -> None:
    """A naive datetime is refused, because nobody can say which midnight it means."""
    with pytest.raises(ValueError, match="without a time zone"):
        use(naive)


def test_a_moment_is_told_by_the_clocks_of_new_york() -> None:
    """A person reads the Eastern date and time, with the year, wherever the machine is."""
    assert eastern_words(utc("2028-01-01 03:30")) == "2027-12-31 22:30 US Eastern"
    assert eastern_words(utc("2027-07-01 03:59")) == "2027-06-30 23:59 US Eastern"


@pytest.mark.parametrize("name", ["renewed_at", "idle_at", "expires_at"])
def test_a_session_takes_aware_datetimes_alone(name: str) -> None:
    """Each time in a session must have a zone."""
    with pytest.raises(ValidationError, match="timezone"):
        renewed_at_noon(**{name: NAIVE})


def test_a_session_cannot_be_changed() -> None:
    """A session cannot be changed, because it states what was."""
    with pytest.raises(ValidationError, match="frozen"):
        renewed_at_noon().reused = True  # type: ignore[misc]


def test_a_session_holds_nothing_secret() -> None:
    """A session has these fields and ignores any other, so no secret gets in."""
    fields = {"environment", "fingerprint", "renewed_at", "idle_at", "expires_at", "reused", "attempts"}
    assert fields == set(renewed_at_noon(token="fake-secret").model_dump())


def test_a_session_is_new_and_took_one_call_unless_said_otherwise() -> None:
    """By default a session is a new renewal, made by one call; the number of calls is never negative."""
    assert (False, 1) == (renewed_at_noon().reused, renewed_at_noon().attempts)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        renewed_at_noon(attempts=-1)


def test_a_day_begins_where_the_one_before_it_ended() -> None:
    """A midnight belongs to the day that it begins, and not to the one before."""
    midnight = midnight_after(datetime(2027, 6, 15, 12, tzinfo=UTC))
    assert midnight == day_begins(midnight) == day_begins(midnight + timedelta(hours=23, minutes=59))
