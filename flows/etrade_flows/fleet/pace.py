"""Decides which member may start when, at a given rate for each consumer key. Pure.

We do not use Prefect's own `rate_limit` (3.8). For each token it costs a request, an event and a tenth of a
second of the server. In one process it lets through one call at a time, and so stays a third below its rate.
And if the limit does not exist, it silently lets everything through.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable

from etrade_flows.fleet.members import Member


class Pace:
    """Returns the members of a fleet one by one, spaced in time for each consumer key.

    Args:
        members: The fleet.
        per_second: How many of one consumer key start in a second.
    """

    def __init__(self, members: Iterable[Member], per_second: float) -> None:
        self._apart = 1 / per_second
        self._waiting: defaultdict[int, deque[Member]] = defaultdict(deque)
        for member in members:
            self._waiting[member.key].append(member)
        self._due = [(0.0, key) for key in self._waiting]
        heapq.heapify(self._due)

    def take(self, at: float) -> Member | None:
        """The next member that may start; None if none may start yet, or none is left.

        Args:
            at: The time, in seconds by any clock that never goes back.
        """
        if not self._due or self._due[0][0] > at:
            return None
        _, key = heapq.heappop(self._due)
        waiting = self._waiting[key]
        member = waiting.popleft()
        if waiting:
            heapq.heappush(self._due, (at + self._apart, key))
        return member

    def due_in(self, at: float) -> float | None:
        """Seconds until the next member may start; None if none is left."""
        return max(0.0, self._due[0][0] - at) if self._due else None
