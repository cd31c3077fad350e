"""Checks that a call is fresh: its timestamp is near the service's clock, its nonce new (RFC 5849, 3.3)."""

from __future__ import annotations

from datetime import datetime, timedelta

from etrade_simulator.problems import OAuthProblem

TIMESTAMP_TOLERANCE = timedelta(minutes=5)


def check_timestamp(timestamp: str, now: datetime, tolerance: timedelta = TIMESTAMP_TOLERANCE) -> int:
    """Return the timestamp in seconds since 1970, if it is within ``tolerance`` of ``now``.

    Raises:
        OAuthProblem: ``timestamp_refused``, naming the range that would have been accepted.
    """
    center, reach = int(now.timestamp()), int(tolerance.total_seconds())
    earliest, latest = center - reach, center + reach
    if timestamp.isdecimal() and timestamp.isascii() and earliest <= int(timestamp) <= latest:
        return int(timestamp)
    raise OAuthProblem("timestamp_refused", oauth_acceptable_timestamps=f"{earliest}-{latest}")


class NonceBook:
    """Remembers used nonces, as long as their timestamps could still be accepted."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, int, str], datetime] = {}

    def use(
        self,
        consumer_key: str,
        timestamp: int,
        nonce: str,
        now: datetime,
        tolerance: timedelta = TIMESTAMP_TOLERANCE,
    ) -> None:
        """Mark the nonce as used together with this timestamp.

        Raises:
            OAuthProblem: ``nonce_used``; the consumer sent this nonce with this timestamp before.
        """
        self._forget_before(now - 2 * tolerance)
        used = (consumer_key, timestamp, nonce)
        if used in self._used:
            raise OAuthProblem("nonce_used")
        self._used[used] = now

    def _forget_before(self, moment: datetime) -> None:
        # Insertion order is time order, unless the clock was moved back; then keeping more does no harm.
        for used, at in list(self._used.items()):
            if at >= moment:
                return
            del self._used[used]
