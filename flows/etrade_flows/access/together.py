"""Lets one thread of a process renew a session while the others wait and share the result.

Waiting threads do not ask the Prefect server: a thousand callers that each load the credentials and look for
the record are too many for a server on SQLite.
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
from etrade_tasks.time_limit import acquired, empty_in_forks


@dataclass
class _Turn:
    """The locks of the two threads that may renew a session, and why the last renewal failed."""

    first: threading.Lock = field(default_factory=threading.Lock)
    next: threading.Lock = field(default_factory=threading.Lock)
    failed_at: float = 0.0
    error: ETradeError | None = None


_turns: dict[tuple[object, ...], _Turn] = {}
empty_in_forks(_turns)


def together(
    name: str,
    found: Callable[[], TokenSession | None],
    renew: Callable[[float], TokenSession],
    *,
    forced: bool = False,
) -> TokenSession:
    """The result of `renew` in this thread, or in another one while this one waited.

    If the first thread takes long, one more goes ahead, and waits for the first as another process would. It
    keeps enough of its deadline for a call of its own. Threads that have no turn at their deadline go ahead.

    Args:
        name: The credentials' name.
        found: Looks for a session that another thread has left.
        renew: Renews; takes the moment, by the monotonic clock, since when this thread has waited.
        forced: Whether an earlier renewal is no answer. Threads that would take one do not wait for these.

    Raises:
        ETradeError: As `renew` raises, here or in the thread that this one waited for.
    """
    effort = Effort(name)
    turn = _turns.setdefault((name, forced, *storage_scope()), _Turn())
    with ExitStack() as held:
        for lock, left in (
            (turn.first, lambda: effort.remaining() - 2 * effort.reserve),
            (turn.next, effort.remaining),
        ):
            if acquired(lock, left):
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
