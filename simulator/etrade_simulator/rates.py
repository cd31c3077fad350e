"""E*TRADE's rate limits: calls per second and per hour, counted for each consumer key and each module."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from etrade_simulator.problems import RateExceeded

Module = Literal["accounts", "market", "orders"]


@dataclass(frozen=True)
class RateLimit:
    """How many calls a consumer key may make in any second, and in any hour; at least one."""

    per_second: int
    per_hour: int


ETRADE_LIMITS: dict[Module, RateLimit] = {
    "accounts": RateLimit(per_second=2, per_hour=7_000),
    "market": RateLimit(per_second=4, per_hour=14_000),
    "orders": RateLimit(per_second=2, per_hour=7_000),
}
"""The limits on E*TRADE's developer pages, which list none for OAuth calls."""


class RateCounter:
    """Counts the calls of every consumer key, and refuses those over the limit."""

    def __init__(self, limits: dict[Module, RateLimit]) -> None:
        self._limits = limits
        self._calls: dict[tuple[str, Module], deque[datetime]] = {}

    def count(self, consumer_key: str, module: Module, now: datetime) -> None:
        """Count one call; a refused call does not count.

        Raises:
            RateExceeded: The consumer key has made as many calls as the module allows.
        """
        limit = self._limits.get(module)
        if limit is None:
            return
        calls = self._calls.setdefault((consumer_key, module), deque())
        while calls and calls[0] <= now - timedelta(hours=1):
            calls.popleft()
        burst = len(calls) >= limit.per_second and calls[-limit.per_second] > now - timedelta(seconds=1)
        if burst or len(calls) >= limit.per_hour:
            raise RateExceeded
        calls.append(now)
