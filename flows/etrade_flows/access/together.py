"""Threads of one process that ask for a session at once: one renews it, the others share what comes of it.

Those who wait here ask the Prefect server for nothing meanwhile: a thousand callers that each load the
credentials and look for the record are more than a server on SQLite takes.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field

from etrade_tasks.errors import ETradeError, SessionTooShort
from etrade_tasks.session import TokenSession
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.record import storage_scope

SLICE = 0.5
"""Seconds of one wait. Prefect ends a thread whose flow is out of time only between two of them."""


@dataclass
class _Turn:
    """Who of the threads is at work on a session, and why the last one failed."""

    first: threading.Lock = field(default_factory=threading.Lock)
    next: threading.Lock = field(default_factory=threading.Lock)
    failed_at: float = 0.0
    error: ETradeError | None = None


_turns: dict[tuple[str, ...], _Turn] = {}


def together(
    name: str, found: Callable[[], TokenSession | None], renew: Callable[[float], TokenSession]
) -> TokenSession:
    """What `renew` gives to this thread, or gave to another one while this one waited.

    Where the first to ask takes long, one more goes ahead, and waits for it as another process would; that
    one keeps enough of its deadline for a call of its own. Who has neither turn at its deadline goes ahead.

    Args:
        name: The credentials' name.
        found: Looks for what another thread has left.
        renew: Renews; takes the moment, by the monotonic clock, since when this thread has waited.

    Raises:
        ETradeError: What `renew` raises, here or in the thread that this one waited for.
    """
    effort = Effort(name)
    turn = _turns.setdefault((name, *storage_scope()), _Turn())
    with ExitStack() as held:
        for lock, reserved in ((turn.first, 2 * effort.reserve), (turn.next, 0.0)):
            if _wait(lock, effort, reserved):
                held.callback(lock.release)
                break
        session = found()
        if session is not None:
            return session
        if turn.error is not None and turn.failed_at > effort.started_at:
            raise copy(turn.error)  # an exception keeps the traceback of the thread that raises it
        try:
            return renew(effort.started_at)
        except SessionTooShort:
            raise  # others may need less
        except ETradeError as error:
            turn.error, turn.failed_at = copy(error), time.monotonic()
            raise


def _wait(lock: threading.Lock, effort: Effort, reserved: float) -> bool:
    """Whether the lock was had while more of the deadline was left than these seconds."""
    while True:
        left = effort.remaining() - reserved
        if lock.acquire(timeout=max(0.0, min(SLICE, left))):
            return True
        if left <= 0:
            return False
