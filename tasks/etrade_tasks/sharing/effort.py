"""The time that one renewal may take, and what its attempts learn."""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, RenewalFailed
from etrade_tasks.oauth.http import CALL_LIMIT
from etrade_tasks.oauth.replies import SKEW_WARNED, Retrying, Verdict
from etrade_tasks.settings import RenewalSettings, renewal_settings

CALL_MARGIN = 2.0
"""Seconds that a renewal needs besides its call."""


@dataclass
class Effort(Retrying):
    """The time that one renewal may take, and what its attempts have learned. It holds no secret.

    Prefect passes the same arguments to a retried task, so an attempt stores here what the next one needs.

    Attributes:
        name: The credentials' name, for messages.
        settings: How long it may take, and where processes keep their locks.
        clock_offset: What to add to this machine's clock to get E*TRADE's, as far as that is known.
        offset_is_learned: Whether E*TRADE gave the offset in this effort; else it is from an earlier renewal.
        calls: Calls made to E*TRADE so far.
        last_error: Why the last attempt failed.
        delays: What delayed the first call, each as a sentence.
        started_at: When it began, by the monotonic clock.
    """

    name: str
    settings: RenewalSettings = field(default_factory=renewal_settings)
    clock_offset: timedelta = timedelta(0)
    offset_is_learned: bool = False
    calls: int = 0
    last_error: RenewalFailed | None = None
    delays: list[str] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        """Seconds that the renewal may take in all."""
        return self.settings.deadline.total_seconds()

    @property
    def reserve(self) -> float:
        """Seconds reserved for a call of its own, even if another run is renewing."""
        return min(CALL_LIMIT.total_seconds() + CALL_MARGIN, self.deadline / 3)

    def remaining(self) -> float:
        """Seconds until the deadline; negative past it."""
        return self.started_at + self.deadline - time.monotonic()

    def call_limit(self) -> timedelta:
        """The longest that the next call may take. The first call is made even if no time is left."""
        seconds = max(self.remaining(), self.deadline / 10, 1.0)
        return min(CALL_LIMIT, timedelta(seconds=seconds))

    def now(self) -> datetime:
        """The time by E*TRADE's clock, as far as it is known."""
        return now() + self.clock_offset

    def suppose(self, offset: timedelta) -> None:
        """Use the offset that an earlier renewal learned, if nothing better is known."""
        if not self.offset_is_learned and abs(offset) >= SKEW_WARNED:
            self.clock_offset = offset

    def least_now(self) -> datetime:
        """The earliest time that E*TRADE's clock may show, as far as we know without asking.

        The offset of an earlier renewal may be wrong by now, and so may this machine's clock. So the earlier
        of both times is used.
        """
        return self.now() if self.offset_is_learned else min(self.now(), now())

    def learn(self, verdict: Verdict, error: ETradeError) -> None:
        """Keep what the next attempt needs from a failed one: E*TRADE's clock, and the reason."""
        if verdict.clock_offset is not None:
            self.clock_offset, self.offset_is_learned = verdict.clock_offset, True
        if isinstance(error, RenewalFailed):
            self.last_error = error
