"""`active_session`: the quick way to ask again, for loops, tasks and threads."""

from __future__ import annotations

import copy
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from etrade_flows.renewal import renew, require_lasting
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, SessionTooShort
from etrade_tasks.session import TokenSession
from etrade_tasks.settings import renewal_settings
from etrade_tasks.sharing.effort import Effort


@dataclass(frozen=True, slots=True)
class _Known:
    """A session in this process's memory, and until when its renewal vouches for it."""

    session: TokenSession
    vouched_until: datetime


@dataclass(slots=True)
class _Turn:
    """Whose turn it is to renew the session of one name, and how the last renewal failed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    failure: ETradeError | None = None
    failed_at: float = 0.0


_known: dict[str, _Known] = {}
_turns: defaultdict[str, _Turn] = defaultdict(_Turn)


def active_session(credentials: str = "etrade", *, required_for: timedelta = timedelta(0)) -> TokenSession:
    """The active session: from this process's memory while a renewal vouches for it, else renewed.

    Ask as often as you like: an answer from memory takes microseconds. A parent's tasks, threads and mapped
    runs in one process share one renewal, and processes share it as those of `renew_access_token` do. It
    makes no flow run of its own; what it does shows as tasks of the run that calls it. In async code, await
    `asyncio.to_thread(active_session, ...)`.

    Args:
        credentials: The name of the E*TRADE Credentials block.
        required_for: How long the session must last yet.

    Raises:
        ETradeError: What `renew_access_token` raises.
    """

    def remembered() -> TokenSession | None:
        session = vouched_for(credentials, now())
        if session is not None:
            require_lasting(credentials, session.expires_at, now(), required_for)
        return session

    return remembered() or _in_turn(
        credentials, remembered, lambda: renew(credentials, required_for=required_for)
    )


def revived_session(credentials: str, refused_at: datetime) -> TokenSession:
    """A session renewed after `refused_at`, when E*TRADE refused a request that was signed before.

    Of many requests that are refused at once, the first renews; the others are served by that.

    Raises:
        ETradeError: What `renew_access_token` raises.
    """

    def renewed_since() -> TokenSession | None:
        known = _known.get(credentials)
        return known.session if known is not None and known.session.renewed_at > refused_at else None

    return _in_turn(credentials, renewed_since, lambda: renew(credentials, force=True))


def vouched_for(credentials: str, at: datetime) -> TokenSession | None:
    """The session in this process's memory, if its renewal vouches for it `at` that moment."""
    known = _known.get(credentials)
    return known.session if known is not None and at < known.vouched_until else None


def remember(credentials: str, session: TokenSession) -> TokenSession:
    """The same session, kept in this process's memory."""
    vouched_until = min(session.renewed_at + renewal_settings().reuse_window, session.expires_at)
    kept = session.model_copy(update={"reused": True, "attempts": 0})
    _known[credentials] = _Known(kept, vouched_until)
    return session


def forget_sessions() -> None:
    """Empty this process's memory, so that the next to ask takes the long way."""
    _known.clear()


def _in_turn(
    credentials: str, known: Callable[[], TokenSession | None], renewed: Callable[[], TokenSession]
) -> TokenSession:
    """The session of the first of all who ask at once; who waited for it shares it, or its failure.

    Without that, each of a hundred threads would try for a minute of its own where E*TRADE is down.

    Raises:
        ETradeError: What `renewed` raises, or that the turn never came.
    """
    asked_at, effort, turn = time.monotonic(), Effort(credentials), _turns[credentials]
    if not turn.lock.acquire(timeout=effort.remaining()):
        raise effort.out_of_time()
    try:
        if session := known():
            return session
        if turn.failure is not None and turn.failed_at > asked_at:
            raise copy.copy(turn.failure)  # an exception of its own for each thread
        try:
            return remember(credentials, renewed())
        except SessionTooShort:  # for this one alone, who needs it for longer
            raise
        except ETradeError as error:
            turn.failure, turn.failed_at = copy.copy(error), time.monotonic()
            raise
    finally:
        turn.lock.release()
