"""The simulator's clock: real time by default. It can be moved, or stand still."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

EASTERN = ZoneInfo("America/New_York")


def aware(moment: datetime) -> datetime:
    """Return the moment in UTC.

    Raises:
        ValueError: The moment has no time zone, so its midnight is unknown.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; pass an aware datetime, e.g. datetime.now(UTC)")
    return moment.astimezone(UTC)


class SimulatorClock:
    """Tells the simulator's time, in UTC, when called.

    It starts at ``start`` (by default the machine's own time) and runs with the machine's clock. ``advance``
    and ``set_time`` move it. Made with ``frozen``, only those two move it.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._stands_at: datetime | None = None
        self._offset = timedelta(0)
        if start is not None:
            self.set_time(start)

    @classmethod
    def frozen(cls, at: datetime) -> SimulatorClock:
        """Return a clock that stands still at ``at`` until it is moved."""
        clock = cls()
        clock._stands_at = aware(at)
        return clock

    def __call__(self) -> datetime:
        """Return the current time, aware, in UTC."""
        with self._lock:
            return self._read()

    def advance(self, by: timedelta) -> None:
        """Move the clock forward by ``by``, or back if it is negative."""
        with self._lock:
            self._move(by)

    def set_time(self, at: datetime) -> None:
        """Set the clock to the aware moment ``at``; it then goes on running or standing still, as before."""
        with self._lock:
            self._move(aware(at) - self._read())

    def _read(self) -> datetime:
        return self._stands_at if self._stands_at is not None else datetime.now(UTC) + self._offset

    def _move(self, by: timedelta) -> None:
        if self._stands_at is not None:
            self._stands_at += by
        else:
            self._offset += by
