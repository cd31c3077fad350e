"""Threads of one process that ask for a session at once: one renews it, the others share what comes of it.

Those who wait here ask the Prefect server for nothing meanwhile: a thousand callers that each load the
credentials and look for the record are more than a server on SQLite takes.
"""

import threading
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field

from etrade_tasks.errors import ETradeError, SessionTooShort
from etrade_tasks.session import TokenSession
from etrade_tasks.settings import renewal_settings
from etrade_tasks.sharing.record import storage_scope

SLICE = 0.5
"""Seconds of one wait. Prefect ends a thread whose flow is out of time only between two of them."""


@dataclass
class _Turn:
    """Who of the threads is at work on a session, and why the last one failed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    failed_at: float = 0.0
    error: ETradeError | None = None


_turns: dict[tuple[str, ...], _Turn] = {}


def together(
    name: str, found: Callable[[], TokenSession | None], renew: Callable[[float], TokenSession]
) -> TokenSession:
    """What `renew` gives to this thread, or gave to another one while this one waited.

    A thread waits for half of its deadline. After that it goes ahead, as a process would: the other may hang.

    Args:
        name: The credentials' name.
        found: Looks for what another thread has left.
        renew: Renews; takes the moment, by the monotonic clock, since when this thread has waited.

    Raises:
        ETradeError: What `renew` raises, here or in the thread that this one waited for.
    """
    began_at = time.monotonic()
    turn = _turns.setdefault((name, *storage_scope()), _Turn())
    has_turn = _wait(turn.lock, began_at + renewal_settings().deadline.total_seconds() / 2)
    try:
        session = found()
        if session is not None:
            return session
        if turn.error is not None and turn.failed_at > began_at:
            raise copy(turn.error)  # an exception keeps the traceback of the thread that raises it
        try:
            return renew(began_at)
        except SessionTooShort:
            raise  # others may need less
        except ETradeError as error:
            turn.error, turn.failed_at = copy(error), time.monotonic()
            raise
    finally:
        if has_turn:
            turn.lock.release()


def _wait(lock: threading.Lock, until: float) -> bool:
    """Whether the lock was had before a moment of the monotonic clock."""
    while True:
        left = until - time.monotonic()
        if lock.acquire(timeout=max(0.0, min(SLICE, left))):
            return True
        if left <= 0:
            return False
