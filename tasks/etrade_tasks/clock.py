"""Where the package gets the time.

Pure functions take `now`; the few places that do I/O ask here. A demo or a test sets its own clock with
`use_clock`, only for its own context: threads and tasks started elsewhere keep the machine's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from etrade_tasks.session import in_utc

Clock = Callable[[], datetime]
"""Returns the current time as an aware datetime."""


_clock: ContextVar[Clock] = ContextVar("etrade_clock", default=lambda: datetime.now(UTC))


def now() -> datetime:
    """The current time in UTC, by the clock in use.

    Raises:
        ValueError: The clock in use returns a naive time.
    """
    return in_utc(_clock.get()())


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Use `clock` for the time inside the `with` block."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)
