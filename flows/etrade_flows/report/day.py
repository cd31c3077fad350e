"""One Eastern day of an E*TRADE session: what is known about it, and how the session stands.

The report, `status`, `doctor` and the notifications all use this to judge a session, so they never disagree.

Pure: no I/O; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, NamedTuple

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.session import (
    IDLE_LIMIT,
    Instant,
    SessionState,
    TokenSession,
    day_begins,
    in_utc,
    midnight_after,
    state_by_clocks,
)
from etrade_tasks.words import clock, date_words

_WORDS = {
    SessionState.EXPIRED: "sign-in required",
    SessionState.SIGN_IN_REQUIRED: "sign-in required",
    SessionState.SIGNED_OUT: "signed out",
    SessionState.FAILED: "failing",
}


def _in_order(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    return tuple(sorted(attempts, key=lambda attempt: attempt.at))


@dataclass(frozen=True, slots=True)
class SessionDay:
    """What is known about the session of one credentials name, and the attempts to renew it.

    It converts every time to UTC, and refuses one without a time zone.

    Attributes:
        signed_in_at: When the person signed in; None if nobody did, or if that is not known.
        renewed_at: When E*TRADE last renewed the token, by the record; None if there is none.
        expires_at: The midnight US Eastern that ends the session; None to count from its last known use.
        attempts: The attempts to renew, oldest first, in whatever order they are given.
        signed_in: Whether the credentials hold a token.
    """

    signed_in_at: Instant | None
    renewed_at: Instant | None
    expires_at: Instant | None
    attempts: Annotated[tuple[Attempt, ...], AfterValidator(_in_order)]
    signed_in: bool = True


@dataclass(frozen=True, slots=True)
class KnownSession:
    """The session, by the known uses of its token; every time is in UTC.

    Attributes:
        began_at: The sign-in, or else the token's first known use.
        last_used_at: The sign-in or the last renewal.
        renewed_at: The last renewal; None if none is known since the sign-in.
        idle_at: When the token goes or went idle; its midnight at the latest.
        expires_at: Its midnight.
        over_at: Its midnight, or the earlier time at which a run found the token refused or gone.
        active: The periods in which the token was or stays active, in order and without overlaps.
    """

    began_at: datetime
    last_used_at: datetime
    renewed_at: datetime | None
    idle_at: datetime
    expires_at: datetime
    over_at: datetime
    active: tuple[tuple[datetime, datetime], ...]

    @property
    def ended_early(self) -> bool:
        """Whether it ended before its midnight."""
        return self.over_at < self.expires_at


@dataclass(frozen=True, slots=True)
class Standing:
    """How a session stands at one time.

    Attributes:
        state: The state.
        session: The session; None if there is no trace of one.
        failed: The last attempt, if it failed after the token's last known use.
        refusal: The first attempt after the token's last known use that found it refused.
    """

    state: SessionState
    session: KnownSession | None
    failed: Attempt | None = None
    refusal: Attempt | None = None

    @property
    def word(self) -> str:
        """The word that an operator reads first."""
        failing = self.failed and not self.state.needs_sign_in
        return _WORDS.get(SessionState.FAILED if failing else self.state, self.state.value)


class Stretch(NamedTuple):
    """A part of the day in one state, from `start` until `end` (UTC, elapsed time).

    Attributes:
        state: Active or idle; None while there is no session.
        ahead: Whether it is in the future: it will happen if nothing renews the token.
    """

    state: SessionState | None
    start: datetime
    end: datetime
    ahead: bool


def session_day(
    loaded: ETradeCredentials | None,
    now: datetime,
    attempts: Iterable[Attempt] = (),
    record: TokenSession | None = None,
) -> SessionDay:
    """The day of these credentials' session.

    Args:
        loaded: The credentials; None if they could not be loaded.
        now: The current time.
        attempts: The attempts to renew.
        record: The last renewal of this token whose full result is known.
    """
    expires_at = record.expires_at if record else None
    if loaded and loaded.signed_in_at:
        expires_at = loaded.expires_at(now)
    return SessionDay(
        signed_in_at=issued_at(loaded, record),
        renewed_at=record.renewed_at if record else None,
        expires_at=expires_at,
        attempts=tuple(attempts),
        signed_in=loaded is None or loaded.access_token is not None,
    )


def issued_at(loaded: ETradeCredentials | None, record: TokenSession | None) -> datetime | None:
    """The latest time at which the token may have been issued; None if that is not known.

    The sign-in is dated by this machine's clock, a renewal by E*TRADE's, to the second. If the token's
    renewal is dated before its sign-in, the renewal's time is used.
    """
    signed_in_at = loaded.signed_in_at if loaded else None
    return min(signed_in_at, record.renewed_at) if signed_in_at and record else signed_in_at


def day_bounds(now: datetime) -> tuple[datetime, datetime]:
    """The two midnights US Eastern around `now`, in UTC: 23, 24 or 25 hours apart."""
    return in_utc(day_begins(now)), in_utc(midnight_after(now))


def standing(day: SessionDay, now: datetime) -> Standing:
    """How the session stands at `now`."""
    session = _known_session(day, in_utc(now))
    clocks = state_by_clocks(now, session.idle_at, session.expires_at) if session else SessionState.UNKNOWN
    since = [a for a in day.attempts if session is None or a.at > session.last_used_at]
    failed = since[-1] if since and since[-1].outcome is AttemptOutcome.FAILED else None
    refusal = next((a for a in since if a.outcome is AttemptOutcome.SIGN_IN_REQUIRED), None)
    if not day.signed_in:
        state = SessionState.SIGNED_OUT
    elif clocks is SessionState.EXPIRED:
        state = clocks
    elif refusal:
        state = SessionState.SIGN_IN_REQUIRED
    elif session is None or session.renewed_at is None:
        # A token that was only stored may be invalid.
        state = SessionState.FAILED if failed else SessionState.UNKNOWN
    else:
        state = clocks
    return Standing(state, session, failed, refusal)


def explain(stands: Standing, now: datetime) -> str:
    """Why the session stands as it does at `now`, or until when: half a sentence to put after the word."""
    state, session, refusal, (today, _) = stands.state, stands.session, stands.refusal, day_bounds(now)
    if state is SessionState.SIGNED_OUT:
        return "nobody is signed in"
    if state is SessionState.UNKNOWN:
        return "no renewal of this token is known"
    if state is SessionState.SIGN_IN_REQUIRED and refusal and refusal.at >= today:
        return f"E*TRADE refused the token at {clock(refusal.at)}"
    if session is None:
        return "no sign-in is known"
    if not state.needs_sign_in:
        return _until(session, now, failing=stands.failed is not None)
    ended = "ended at midnight" if session.over_at == today else f"was of {date_words(session.last_used_at)}"
    return f"the last session {ended}"


def _until(session: KnownSession, now: datetime, *, failing: bool) -> str:
    if in_utc(now) >= session.idle_at:
        return f"idle since {clock(session.idle_at)}" if failing else "the next renewal revives it"
    if failing and session.idle_at < session.over_at:
        return f"idle from {clock(session.idle_at)} unless a renewal comes first"
    return "good until midnight US Eastern"


def _known_session(day: SessionDay, now: datetime) -> KnownSession | None:
    """The latest session that we know about; None if there is no trace of one."""
    renewals = {a.at for a in day.attempts if a.outcome is AttemptOutcome.RENEWED}
    renewals |= {day.renewed_at} if day.renewed_at else set()
    used = renewals | ({day.signed_in_at} if day.signed_in_at else set())
    # Attempts before the sign-in belong to another token.
    uses = sorted(use for use in used if not day.signed_in_at or use >= day.signed_in_at)
    if not uses:
        return None
    midnight = day.expires_at or in_utc(midnight_after(uses[-1]))
    # A session lies within one Eastern day, so a use on another day belongs to another session.
    opened, _ = day_bounds(midnight - timedelta.resolution)
    uses = [use for use in uses if opened <= use < midnight] or uses[-1:]
    last = uses[-1]
    ends = [a.at for a in day.attempts if a.outcome is AttemptOutcome.SIGN_IN_REQUIRED]
    if not day.signed_in:
        ends.append(now)  # now at the latest
    over_at = min((at for at in ends if last < at < midnight), default=midnight)
    idle_at = min(last + IDLE_LIMIT, midnight)
    active = tuple(_active(uses, min(idle_at, over_at)))
    return KnownSession(uses[0], last, last if last in renewals else None, idle_at, midnight, over_at, active)


def _active(uses: list[datetime], end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The periods until `end` in which `uses` keep the token active, joined where they touch."""
    start = uses[0]
    for use, following in pairwise(uses):
        if following > use + IDLE_LIMIT:
            yield start, use + IDLE_LIMIT
            start = following
    if start < end:
        yield start, end


def stretches(stands: Standing, now: datetime) -> Iterator[Stretch]:
    """The Eastern day of `now` in stretches, in order and split at `now`; unknown parts are left out.

    There is no stretch before a sign-in; without a session there is none ahead either.
    """
    at, (first, last) = in_utc(now), day_bounds(now)
    for state, begins, ends in _phases(stands, first, at):
        for start, end in ((max(begins, first), min(ends, at)), (max(begins, at), min(ends, last))):
            if start < end:
                yield Stretch(state, start, end, ahead=start >= at)


def _phases(
    stands: Standing, first: datetime, now: datetime
) -> Iterator[tuple[SessionState | None, datetime, datetime]]:
    session = stands.session
    if session is None or stands.state is SessionState.UNKNOWN:
        if stands.state.needs_sign_in:
            yield None, first, now
        return
    since = session.began_at
    for start, end in session.active:
        yield SessionState.IDLE, since, start
        yield SessionState.ACTIVE, start, end
        since = end
    yield SessionState.IDLE, since, session.over_at
    yield None, session.over_at, now


def short_session(now: datetime) -> str | None:
    """What to tell a person who signs in shortly before midnight US Eastern; None at other times."""
    minutes = (in_utc(midnight_after(now)) - in_utc(now)).total_seconds() / 60
    if minutes >= 120:  # noqa: PLR2004  # long enough to be worth a sign-in
        return None
    return (
        f"Midnight US Eastern ends this session in {max(1, round(minutes))} min: sign in after 00:00 "
        "instead, unless you need it now."
    )
