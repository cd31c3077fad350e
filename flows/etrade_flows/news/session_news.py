"""The notifications about a session, and their words. Pure, except that it reads the credentials."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from etrade_flows.report.day import session_day, standing
from etrade_flows.runs.endings import describe
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError, SessionTooShort, SignInRequired
from etrade_tasks.key_age import KEY_ADVICE, key_warning
from etrade_tasks.session import Instant, SessionState, TokenSession, eastern_date
from etrade_tasks.words import eastern_words


class SessionEvent(StrEnum):
    """The names of the events."""

    RENEWED = "etrade.session.renewed"
    EXPIRING = "etrade.session.expiring"
    SIGN_IN_WANTED = "etrade.session.sign-in-wanted"
    SIGN_IN_REQUIRED = "etrade.session.sign-in-required"
    FAILING = "etrade.session.failing"
    KEY_LAPSING = "etrade.session.key-lapsing"
    SIGNED_IN = "etrade.session.signed-in"
    SIGNED_OUT = "etrade.session.signed-out"


class Cause(StrEnum):
    """The cause of an alert. For `failing`, the cause is the name of the error's class instead."""

    MIDNIGHT = "midnight"
    """The midnight that ends the session has passed."""
    SIGNED_OUT = "signed-out"
    """The credentials hold no token: nobody has signed in yet, or somebody has signed out."""
    REFUSED = "refused"
    """E*TRADE does not accept the token, although its day is not over."""
    NEAR = "midnight-near"
    """The session ends sooner than `ETRADE_EXPIRING_BEFORE` from now."""
    TOO_SHORT = "too-short"
    """The session ends sooner than a pipeline needs."""
    KEY_AGE = "key-age"
    """The consumer key lapses soon, by the date of issue in the credentials."""


_CAUSES = {SessionState.SIGNED_OUT: Cause.SIGNED_OUT, SessionState.EXPIRED: Cause.MIDNIGHT}
"""The states in which a session is over; in any other, E*TRADE has just refused the token."""


class SessionNews(BaseModel):
    """One notification, as the payload of an event. Its fields are always the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: SessionEvent = Field(exclude=True, description="The event's name; not part of the payload.")
    credentials: str = Field(description="The credentials' name.")
    environment: str = Field(description="`live` or `sandbox`; `unknown` if no credentials could be loaded.")
    cause: str | None = Field(default=None, description="The cause of an alert; null if it is no alert.")
    message: str = Field(description="What happened, in one or two sentences.")
    advice: str | None = Field(default=None, description="What a person does next; null if nothing.")
    session: str = Field(description="How long the session lasts, in words.")
    expires_at: Instant | None = Field(
        default=None, description="The midnight US Eastern that ends the session (UTC); null if not known."
    )
    idle_at: Instant | None = Field(
        default=None, description="When the token goes idle (UTC); null if not renewed."
    )
    eastern_date: str = Field(description="The Eastern date of the event, such as `2027-06-15`.")
    once: str = Field(description="The same for all events that share one alert.")
    fingerprint: str | None = Field(
        default=None, description="Identifies the token without revealing it; null if none was loaded."
    )


def outcome_news(
    credentials: str,
    outcome: TokenSession | ETradeError,
    loaded: ETradeCredentials | None,
    at: datetime,
    *,
    expiring_before: timedelta,
) -> Iterator[SessionNews]:
    """The notifications about a renewal's outcome at `at`. A reused session by itself causes none.

    Args:
        credentials: The credentials' name.
        outcome: The result of the renewal.
        loaded: The credentials themselves; None if they could not be loaded.
        at: The current time.
        expiring_before: How long before its end a session counts as expiring.
    """
    if isinstance(outcome, TokenSession):
        yield from _session_news(credentials, outcome, at, expiring_before)
    else:
        event, cause = _alert(outcome, loaded, at)
        message, advice = outcome.message, outcome.advice
        yield _news(event, credentials, loaded, at, cause=cause, message=message, advice=advice)
    if loaded and (warning := key_warning(loaded.consumer_key_issued_on, at)):
        week = eastern_date(at).strftime("%G-W%V")
        once = f"{credentials}/{week}/key-lapsing"  # one alert a week is enough
        event, cause = SessionEvent.KEY_LAPSING, Cause.KEY_AGE.value
        said = {"message": warning, "advice": KEY_ADVICE, "once": once}
        yield _news(event, credentials, loaded, at, cause=cause, expires_at=None, **said)


def sign_news(event: SessionEvent, credentials: str, loaded: ETradeCredentials, at: datetime) -> SessionNews:
    """The notification about a person's sign-in or sign-out at `at`."""
    expires_at = loaded.expires_at(at)
    if event is SessionEvent.SIGNED_IN:
        message, session = "A person signed in at E*TRADE.", _until(expires_at)
    else:
        message, session = "A person ended the session at E*TRADE.", "ended, signed out"
    return _news(event, credentials, loaded, at, expires_at=expires_at, message=message, session=session)


def _session_news(
    credentials: str, session: TokenSession, at: datetime, expiring_before: timedelta
) -> Iterator[SessionNews]:
    renewed = SessionNews(
        event=SessionEvent.RENEWED,
        credentials=credentials,
        environment=session.environment,
        message=describe(session),
        session=_until(session.expires_at),
        expires_at=session.expires_at,
        idle_at=session.idle_at,
        eastern_date=eastern_date(at).isoformat(),
        once=_once(SessionEvent.RENEWED, credentials, at),
        fingerprint=session.fingerprint,
    )
    if not session.reused:
        yield renewed
    if session.expires_at - at < expiring_before:
        event, cause = SessionEvent.EXPIRING, Cause.NEAR.value
        yield renewed.model_copy(
            update={
                "event": event,
                "cause": cause,
                "message": f"The E*TRADE session of {credentials!r} ends at midnight US Eastern.",
                "advice": "sign in after midnight; a token issued before it would end at the same time.",
                "once": _once(event, credentials, at, cause),
            }
        )


def _alert(error: ETradeError, loaded: ETradeCredentials | None, at: datetime) -> tuple[SessionEvent, str]:
    """The alert for an error, and its cause."""
    if isinstance(error, SessionTooShort):
        # It needs no sign-in yet: a new token would end at the same midnight.
        return SessionEvent.EXPIRING, Cause.TOO_SHORT.value
    if isinstance(error, SignInRequired) and loaded is not None:
        state = standing(session_day(loaded, at), at).state
        return SessionEvent.SIGN_IN_REQUIRED, _CAUSES.get(state, Cause.REFUSED).value
    return SessionEvent.FAILING, type(error).__name__


def _news(
    event: SessionEvent,
    credentials: str,
    loaded: ETradeCredentials | None,
    at: datetime,
    *,
    cause: str | None = None,
    expires_at: datetime | None = None,
    **said: str,
) -> SessionNews:
    """A notification about these credentials, with `said` as its other fields.

    If the time of the sign-in is not known, the session ends at `expires_at`: its midnight would be a guess.
    """
    if loaded and loaded.signed_in_at:
        expires_at = loaded.expires_at(at)
    over = event is SessionEvent.SIGN_IN_REQUIRED
    fields: dict[str, Any] = {
        "environment": loaded.environment if loaded else "unknown",
        "session": _ended(cause, expires_at) if over else _until(expires_at),
        "once": _once(event, credentials, at, cause),
        "fingerprint": loaded.fingerprint if loaded and loaded.access_token else None,
    } | said
    return SessionNews(
        event=event,
        credentials=credentials,
        cause=cause,
        expires_at=expires_at,
        eastern_date=eastern_date(at).isoformat(),
        **fields,
    )


def _once(event: SessionEvent, credentials: str, at: datetime, cause: str | None = None) -> str:
    """The text that identifies one alert: whose, on which Eastern day, what and why."""
    what = event.removeprefix("etrade.session.")
    return "/".join((credentials, eastern_date(at).isoformat(), what, *([cause] if cause else [])))


def _until(expires_at: datetime | None) -> str:
    return f"until {eastern_words(expires_at)}" if expires_at else "not known"


def _ended(cause: str | None, expires_at: datetime | None) -> str:
    if cause == Cause.REFUSED:
        return "ended, refused by E*TRADE"
    if cause == Cause.SIGNED_OUT:
        return "none, nobody is signed in"
    return f"expired at {eastern_words(expires_at)}" if expires_at else "ended"
