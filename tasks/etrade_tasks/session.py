"""The two clocks of an E*TRADE access token.

A token goes *idle* after two hours without a request; a renewal makes it active again. It *expires* at
midnight US Eastern of the day it was issued. No renewal changes that: a person signs in again. Source:
E*TRADE's "Renew Access Token" page, which calls an idle token inactive.

Pure: no I/O, no Prefect; `now` is passed in and every datetime is aware.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

EASTERN = ZoneInfo("America/New_York")
"""The zone whose midnight ends every session."""

IDLE_LIMIT = timedelta(hours=2)
"""How long a token stays active without a request."""

REUSE_WINDOW = timedelta(minutes=50)
"""How long a renewal answers for the next ones. An hourly schedule plus this stays under the idle limit."""


class SessionState(StrEnum):
    """How a session stands, as far as we know without asking E*TRADE."""

    ACTIVE = "active"
    """Good by both clocks."""
    IDLE = "idle"
    """Two hours or more without a request: a renewal makes it active again."""
    EXPIRED = "expired"
    """Past its midnight: a person signs in."""
    SIGNED_OUT = "signed-out"
    """The credentials hold no token: a person signs in."""
    SIGN_IN_REQUIRED = "sign-in-required"
    """E*TRADE refused the token before its midnight: a person signs in."""
    FAILED = "failed"
    """The credentials cannot be used, or the last renewal failed and no earlier one is known."""
    UNKNOWN = "unknown"
    """The day is not over, but no renewal is known."""

    @property
    def needs_sign_in(self) -> bool:
        """Whether only a new sign-in helps."""
        return self in (SessionState.EXPIRED, SessionState.SIGNED_OUT, SessionState.SIGN_IN_REQUIRED)


def midnight_after(instant: datetime) -> datetime:
    """The first midnight of America/New_York strictly after `instant`, as an aware Eastern datetime.

    An instant at midnight begins a day, so its session ends at the next one. The Eastern day has 23 or 25
    hours when daylight saving starts or ends; midnight itself always exists there.

    Raises:
        ValueError: `instant` is naive.
    """
    return datetime.combine(eastern_date(instant) + timedelta(days=1), time(), tzinfo=EASTERN)


def day_begins(instant: datetime) -> datetime:
    """The midnight of America/New_York that began the day of `instant`, as an aware Eastern datetime.

    Raises:
        ValueError: `instant` is naive.
    """
    return datetime.combine(eastern_date(instant), time(), tzinfo=EASTERN)


def eastern_date(instant: datetime) -> date:
    """The date of `instant` in America/New_York.

    Raises:
        ValueError: `instant` is naive.
    """
    return in_utc(instant).astimezone(EASTERN).date()


def in_utc(instant: datetime) -> datetime:
    """The same instant in UTC.

    Raises:
        ValueError: `instant` is naive, so its midnight is unknown.
    """
    if instant.utcoffset() is None:
        raise ValueError("a datetime without a time zone was given where an aware one is needed")
    return instant.astimezone(UTC)


def state_by_clocks(now: datetime, idle_at: datetime, expires_at: datetime) -> SessionState:
    """Whether a token with these limits is active, idle or expired at `now`.

    At the exact moment of a limit, the limit has passed.

    Raises:
        ValueError: `now` is naive.
    """
    at = in_utc(now)
    if at >= expires_at:
        return SessionState.EXPIRED
    return SessionState.IDLE if at >= idle_at else SessionState.ACTIVE


Instant = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A moment in any time zone, converted to UTC."""


class TokenSession(BaseModel):
    """The result of a renewal. It holds no secret, so it may be stored, logged and shown."""

    # A later version may have written the record, with more fields.
    model_config = ConfigDict(frozen=True, extra="ignore")

    environment: str = Field(description="`live` or `sandbox`.")
    fingerprint: str = Field(description="Identifies the token without revealing it.")
    renewed_at: Instant = Field(description="When E*TRADE confirmed the renewal (UTC).")
    idle_at: Instant = Field(
        description="When the token goes idle unless it is used; its midnight at the latest (UTC)."
    )
    expires_at: Instant = Field(description="The midnight US Eastern that ends the session (UTC).")
    reused: bool = Field(default=False, description="Whether this is the result of an earlier renewal.")
    attempts: int = Field(default=1, ge=0, description="Calls made to E*TRADE for this answer.")

    def state(self, now: datetime) -> SessionState:
        """The token's state at `now` by `state_by_clocks`, as far as this renewal knows."""
        return state_by_clocks(now, self.idle_at, self.expires_at)
