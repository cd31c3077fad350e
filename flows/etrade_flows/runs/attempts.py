"""What one attempt to renew came to. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError, SessionTooShort, SignInRequired
from etrade_tasks.session import TokenSession


class AttemptOutcome(StrEnum):
    """What one attempt to renew came to."""

    RENEWED = "renewed"
    """E*TRADE renewed the token."""
    REUSED = "reused"
    """An earlier renewal still answered; E*TRADE was not called."""
    SIGN_IN_REQUIRED = "sign-in required"
    """The token is over; a person signs in."""
    FAILED = "failed"
    """E*TRADE or the network did not answer well, or a setting is wrong."""
    TOO_SHORT = "too short"
    """The session is good, and ends sooner than the pipeline needs it; E*TRADE was not called."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to renew, as a person will read of it. It holds no secret.

    Attributes:
        at: When the attempt ended.
        outcome: What it came to, in one word.
        detail: What it said or did, as a sentence.
        took: How long it lasted; None if nobody measured.
    """

    at: datetime
    outcome: AttemptOutcome
    detail: str
    took: timedelta | None


@dataclass(frozen=True, slots=True)
class Ending:
    """What a run came to, for all who report it.

    Attributes:
        credentials: The credentials' name.
        began_at: When this attempt began.
        outcome: What it came to; None where nothing was to be renewed.
        loaded: The credentials themselves; None if they could not be loaded.
    """

    credentials: str
    began_at: datetime
    outcome: TokenSession | ETradeError | None
    loaded: ETradeCredentials | None = field(repr=False)

    @property
    def is_reused(self) -> bool:
        """Whether an earlier renewal answered."""
        return isinstance(self.outcome, TokenSession) and self.outcome.reused


def attempt_outcome(outcome: TokenSession | ETradeError) -> AttemptOutcome:
    """What a renewal came to, in one word."""
    match outcome:
        case TokenSession():
            return AttemptOutcome.REUSED if outcome.reused else AttemptOutcome.RENEWED
        case SessionTooShort():
            return AttemptOutcome.TOO_SHORT
        case SignInRequired():
            return AttemptOutcome.SIGN_IN_REQUIRED
        case _:
            return AttemptOutcome.FAILED
