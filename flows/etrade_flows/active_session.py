"""`active_session`: the quick way to ask again, for loops, tasks and threads."""

from __future__ import annotations

import threading
from collections import defaultdict
from datetime import datetime, timedelta

from etrade_flows.renewal import renew, require_lasting
from etrade_tasks.clock import now
from etrade_tasks.session import TokenSession
from etrade_tasks.settings import RenewalSettings

_known: dict[str, TokenSession] = {}
_one_at_a_time: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


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
    if known := _vouched_for(credentials):
        require_lasting(credentials, known.expires_at, now(), required_for)
        return known
    with _one_at_a_time[credentials]:
        if known := _vouched_for(credentials):
            require_lasting(credentials, known.expires_at, now(), required_for)
            return known
        return remember(credentials, renew(credentials, required_for=required_for))


def revived_session(credentials: str, refused_at: datetime) -> TokenSession:
    """A session renewed after `refused_at`, when E*TRADE refused a request that was signed before.

    Of many requests that are refused at once, the first renews; the others are served by that.

    Raises:
        ETradeError: What `renew_access_token` raises.
    """
    with _one_at_a_time[credentials]:
        known = _known.get(credentials)
        if known is not None and known.renewed_at > refused_at:
            return known
        return remember(credentials, renew(credentials, force=True))


def forget_sessions() -> None:
    """Empty this process's memory, so that the next to ask takes the long way."""
    _known.clear()


def _vouched_for(credentials: str) -> TokenSession | None:
    known = _known.get(credentials)
    if known is None:
        return None
    vouched_until = min(known.renewed_at + RenewalSettings().reuse_window, known.expires_at)
    return known if now() < vouched_until else None


def remember(credentials: str, session: TokenSession) -> TokenSession:
    """The same session, kept in this process's memory."""
    _known[credentials] = session.model_copy(update={"reused": True, "attempts": 0})
    return session
