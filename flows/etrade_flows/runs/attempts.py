"""The result of one attempt to renew. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import pydantic.dataclasses

from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError, SessionTooShort, SignInRequired
from etrade_tasks.session import Instant, TokenSession


class AttemptOutcome(StrEnum):
    """The result of one attempt to renew, in one word."""

    RENEWED = "renewed"
    """E*TRADE renewed the token."""
    REUSED = "reused"
    """An earlier renewal was still valid; E*TRADE was not called."""
    SIGN_IN_REQUIRED = "sign-in required"
    """The token is over; a person signs in."""
    FAILED = "failed"
    """E*TRADE or the network kept failing, or a setting is wrong."""
    TOO_SHORT = "too short"
    """The session is good, but ends sooner than the pipeline needs; E*TRADE was not called."""


@pydantic.dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to renew, as people read about it. It holds no secret.

    Attributes:
        at: When the attempt ended, converted to UTC.
        outcome: Its result, in one word.
        detail: What it said or did, as a sentence.
        took: How long it lasted; None if not measured.
    """

    at: Instant
    outcome: AttemptOutcome
    detail: str
    took: timedelta | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended, for the tags, the report and the events.

    Attributes:
        credentials: The credentials' name.
        began_at: When this attempt began.
        outcome: Its session or its error; None if it renewed nothing.
        loaded: The credentials themselves; None if they could not be loaded.
    """

    credentials: str
    began_at: datetime
    outcome: TokenSession | ETradeError | None
    loaded: ETradeCredentials | None = field(repr=False)

    @property
    def is_reused(self) -> bool:
        """Whether it reused an earlier renewal."""
        return isinstance(self.outcome, TokenSession) and self.outcome.reused


def attempt_outcome(outcome: TokenSession | ETradeError) -> AttemptOutcome:
    """The result of a renewal, in one word."""
    match outcome:
        case TokenSession():
            return AttemptOutcome.REUSED if outcome.reused else AttemptOutcome.RENEWED
        case SessionTooShort():
            return AttemptOutcome.TOO_SHORT
        case SignInRequired():
            return AttemptOutcome.SIGN_IN_REQUIRED
        case _:
            return AttemptOutcome.FAILED
