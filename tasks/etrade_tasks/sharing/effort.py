"""What one renewal may spend: its time, its attempts, and where it waits for others."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from etrade_tasks.call_renew import CALL_LIMIT
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, RenewalFailed
from etrade_tasks.replies import Verdict
from etrade_tasks.session import TokenSession
from etrade_tasks.settings import RenewalSettings, renewal_settings
from etrade_tasks.sharing.locks import FileLockManager, PatientLockManager, RedisLockManager

LOCK_MARGIN = 10.0
"""Seconds by which a lock with a time to live outlasts the longest call that it guards."""


@dataclass
class Effort:
    """What one renewal may spend, and what its attempts have learned. It holds no secret.

    Prefect hands a retried task the same arguments again, so an attempt leaves here what the next one needs.

    Attributes:
        name: The credentials' name, for messages.
        settings: How long it may take, and where processes meet.
        clock_offset: What to add to this machine's clock, as E*TRADE taught it.
        calls: Calls made to E*TRADE so far.
        renewed: The session that these calls renewed; None as long as somebody else's may answer.
        last_error: Why the last attempt failed.
    """

    name: str
    settings: RenewalSettings = field(default_factory=renewal_settings)
    clock_offset: timedelta = timedelta(0)
    calls: int = 0
    renewed: TokenSession | None = None
    last_error: RenewalFailed | None = None
    _started_at: float = field(default_factory=time.monotonic)

    def remaining(self) -> float:
        """Seconds until the deadline; negative past it."""
        return self._started_at + self.settings.deadline.total_seconds() - time.monotonic()

    def now(self) -> datetime:
        """The time by E*TRADE's clock, as far as it is known."""
        return now() + self.clock_offset

    def learn(self, verdict: Verdict, error: ETradeError) -> None:
        """Keep what the next attempt needs of one that failed: E*TRADE's clock, and the reason."""
        self.clock_offset = verdict.clock_offset or self.clock_offset
        if isinstance(error, RenewalFailed):
            self.last_error = error

    def out_of_time(self) -> RenewalFailed:
        """The error for an effort whose time has run out: its last one, or that it never had its turn."""
        return self.last_error or RenewalFailed(
            f"The session of {self.name!r} was not renewed: another run has been renewing it for "
            f"{self.settings.deadline.total_seconds():.0f} s and has not come to an end."
        )

    def lock_manager(self) -> PatientLockManager:
        """Where this effort's processes meet: in Redis if the settings name one, else in lock files."""
        if self.settings.lock_redis_url is None:
            return FileLockManager(self.settings.lock_directory, patience=self.remaining)
        return RedisLockManager(
            self.settings.lock_redis_url.get_secret_value(),
            patience=self.remaining,
            time_to_live=CALL_LIMIT.total_seconds() + LOCK_MARGIN,
        )
