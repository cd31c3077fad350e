"""The simulator's clock: real time by default, movable, or standing still."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

EASTERN = ZoneInfo("America/New_York")


def aware(moment: datetime) -> datetime:
    """Give the moment in UTC.

    Raises:
        ValueError: The moment carries no time zone, so nobody can tell which midnight is meant.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; pass an aware datetime, e.g. datetime.now(UTC)")
    return moment.astimezone(UTC)


class SimulatorClock:
    """Tells the simulator's time, in UTC, when called.

    It runs with the machine's clock from ``start`` on (the machine's own time, if none is given), and
    moves by ``advance`` and ``set_time``. Made with ``frozen``, it moves only by those two.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._stands_at: datetime | None = None
        self._offset = timedelta(0)
        if start is not None:
            self.set_time(start)

    @classmethod
    def frozen(cls, at: datetime) -> SimulatorClock:
        """Give a clock that stands still at ``at`` until it is moved."""
        clock = cls()
        clock._stands_at = aware(at)
        return clock

    def __call__(self) -> datetime:
        """Give the time it is, aware, in UTC."""
        with self._lock:
            return self._read()

    def advance(self, by: timedelta) -> None:
        """Move the clock forward by ``by``, or back if it is negative."""
        with self._lock:
            self._move(by)

    def set_time(self, at: datetime) -> None:
        """Set the clock to the aware moment ``at``; it goes on as it did, running or standing."""
        with self._lock:
            self._move(aware(at) - self._read())

    def _read(self) -> datetime:
        return self._stands_at if self._stands_at is not None else datetime.now(UTC) + self._offset

    def _move(self, by: timedelta) -> None:
        if self._stands_at is not None:
            self._stands_at += by
        else:
            self._offset += by
