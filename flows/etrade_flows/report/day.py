"""One Eastern day of an E*TRADE session: what is known of it, and how it stands.

The report and its picture read the day through the same functions, so that they never disagree. Pure: no
I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_tasks.session import IDLE_LIMIT, day_begins, in_utc, midnight_after
from etrade_tasks.words import clock, date_words

SHORT = timedelta(hours=2)
"""A session that midnight ends sooner is hardly worth a sign-in."""


@dataclass(frozen=True, slots=True)
class SessionDay:
    """What is known of one credentials' session and of the attempts to renew it.

    Attributes:
        signed_in_at: When the person signed in; None if nobody did or nobody knows.
        renewed_at: When E*TRADE last renewed the token, as the latest attempt tells; None if that failed.
        idle_at: When the token goes inactive unless it is used; None to count from its last known use.
        expires_at: The midnight US Eastern that ends the session; None to count from its last known use.
        attempts: The attempts to renew, in any order.
        advice: What a person should do next; None if there is nothing to do.
        notice: What a person should know that has no hurry; None if there is nothing.
    """

    signed_in_at: datetime | None
    renewed_at: datetime | None
    idle_at: datetime | None
    expires_at: datetime | None
    attempts: tuple[Attempt, ...]
    advice: str | None
    notice: str | None = None


class Standing(StrEnum):
    """How a session stands at one moment, in the words shown to an operator."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    FAILING = "failing"
    SIGN_IN_REQUIRED = "sign-in required"


class Phase(StrEnum):
    """What a stretch of the day is, in the words shown to an operator."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    NO_SESSION = "no session"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the day in one phase, from `start` until `end` (UTC, elapsed time).

    Attributes:
        ahead: It has not happened yet: it is what comes if nothing renews the token.
    """

    phase: Phase
    start: datetime
    end: datetime
    ahead: bool


@dataclass(frozen=True, slots=True)
class KnownSession:
    """The session as the known uses of its token tell it; every time is in UTC.

    Attributes:
        began_at: The sign-in, or else the token's first known use.
        last_used_at: The sign-in or the last renewal.
        renewed_at: The last renewal; None if none is known since the sign-in.
        idle_at: When the token goes, or went, inactive.
        expires_at: Its midnight.
        over_at: Its midnight, or the earlier moment at which E*TRADE refused the token for good.
        active: The stretches in which the token was or stays active, in order, apart from each other.
    """

    began_at: datetime
    last_used_at: datetime
    renewed_at: datetime | None
    idle_at: datetime
    expires_at: datetime
    over_at: datetime
    active: tuple[tuple[datetime, datetime], ...]

    @property
    def refused(self) -> bool:
        """Whether a refusal ended it, not its midnight."""
        return self.over_at < self.expires_at


def day_bounds(now: datetime) -> tuple[datetime, datetime]:
    """The two midnights US Eastern around `now`, in UTC: 23, 24 or 25 hours apart."""
    return in_utc(day_begins(now)), in_utc(midnight_after(now))


def in_order(day: SessionDay) -> list[Attempt]:
    """The attempts, oldest first."""
    return sorted(day.attempts, key=lambda attempt: in_utc(attempt.at))


def is_refusal(attempt: Attempt) -> bool:
    """Whether the attempt found the token over."""
    return attempt.outcome is AttemptOutcome.SIGN_IN_REQUIRED


def known_session(day: SessionDay) -> KnownSession | None:
    """The latest session that anything is known of; None if there is no trace of one."""
    uses = _uses(day)
    if not uses:
        return None
    midnight = in_utc(day.expires_at or midnight_after(uses[-1]))
    # A session lives within one Eastern day, so a use on another day was another session's.
    opened, _ = day_bounds(midnight - timedelta.resolution)
    uses = [use for use in uses if opened <= use < midnight] or uses[-1:]
    last = uses[-1]
    refusals = [in_utc(a.at) for a in day.attempts if is_refusal(a)]
    over_at = min((at for at in refusals if last < at < midnight), default=midnight)
    idle_at = in_utc(day.idle_at) if day.idle_at else last + IDLE_LIMIT
    active = tuple(_active(uses, idle_at, over_at))
    renewed_at = None if day.signed_in_at and last == in_utc(day.signed_in_at) else last
    return KnownSession(uses[0], last, renewed_at, idle_at, midnight, over_at, active)


def _uses(day: SessionDay) -> list[datetime]:
    """Every known use of the token, oldest first; what came before the sign-in was another token's."""
    uses = {in_utc(a.at) for a in day.attempts if a.outcome is AttemptOutcome.RENEWED}
    uses |= {in_utc(at) for at in (day.signed_in_at, day.renewed_at) if at}
    return sorted(use for use in uses if not day.signed_in_at or use >= in_utc(day.signed_in_at))


def _active(
    uses: list[datetime], idle_at: datetime, over_at: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The stretches that `uses` keep the token active for, joined where they touch."""
    start = uses[0]
    for use, following in pairwise(uses):
        if following > use + IDLE_LIMIT:
            yield start, use + IDLE_LIMIT
            start = following
    end = min(idle_at, over_at)
    if start < end:
        yield start, end


def stretches(day: SessionDay, now: datetime) -> tuple[Stretch, ...]:
    """The Eastern day of `now` in stretches, in order, divided at `now`; what is unknown is left out.

    Before a sign-in there is nothing; without a session there is no stretch ahead either.
    """
    at = in_utc(now)
    first, last = day_bounds(now)
    session = known_session(day)
    found = [(Phase.NO_SESSION, first, at)] if session is None else list(_phases(session, at))
    pieces = (
        Stretch(phase, start, end, ahead)
        for phase, begins, ends in found
        for start, end, ahead in ((begins, min(ends, at), False), (max(begins, at), ends, True))
    )
    within = (Stretch(p.phase, max(p.start, first), min(p.end, last), p.ahead) for p in pieces)
    return tuple(piece for piece in within if piece.start < piece.end)


def _phases(session: KnownSession, now: datetime) -> Iterator[tuple[Phase, datetime, datetime]]:
    since = session.began_at
    for start, end in session.active:
        yield Phase.INACTIVE, since, start
        yield Phase.ACTIVE, start, end
        since = end
    yield Phase.INACTIVE, since, session.over_at
    yield Phase.NO_SESSION, session.over_at, now


def standing(day: SessionDay, now: datetime) -> Standing:
    """How the session stands at `now`. At the very instant of a limit, the limit has passed."""
    at = in_utc(now)
    session = known_session(day)
    if session and at >= session.over_at:
        return Standing.SIGN_IN_REQUIRED
    attempts = in_order(day)
    failed = bool(attempts) and attempts[-1].outcome is AttemptOutcome.FAILED
    if failed and (session is None or in_utc(attempts[-1].at) > session.last_used_at):
        return Standing.FAILING
    if session is None:
        return Standing.SIGN_IN_REQUIRED
    return Standing.ACTIVE if at < session.idle_at else Standing.INACTIVE


def explain(day: SessionDay, now: datetime) -> str:
    """Why the session stands as it does at `now`, or until when: half a sentence to follow the standing."""
    session = known_session(day)
    stands = standing(day, now)
    if stands is Standing.SIGN_IN_REQUIRED:
        return "no sign-in is known" if session is None else _why_over(session, now)
    if stands is Standing.INACTIVE:
        return "the next renewal revives it"
    if session is None:
        return "no sign-in is known"
    if in_utc(now) >= session.idle_at:
        return f"the token is inactive since {clock(session.idle_at)}"
    if session.idle_at >= session.over_at:
        return "over at midnight"
    return f"idle from {clock(session.idle_at)} unless a renewal comes first"


def _why_over(session: KnownSession, now: datetime) -> str:
    today, _ = day_bounds(now)
    if session.refused and session.over_at >= today:
        return f"E*TRADE refused the token at {clock(session.over_at)}"
    if session.over_at == today:
        return "the last session ended at midnight"
    return f"the last session was of {date_words(session.last_used_at)}"


def short_session(now: datetime) -> str | None:
    """What to tell a person who signs in when midnight US Eastern is near; None while it is not."""
    left = in_utc(midnight_after(now)) - in_utc(now)
    if left >= SHORT:
        return None
    minutes = max(1, round(left.total_seconds() / 60))
    return (
        f"Midnight US Eastern ends this session in {minutes} min: sign in after 00:00 instead, unless you "
        "need it now."
    )
