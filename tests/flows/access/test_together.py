"""How long one thread of a process waits for another one's renewal, on a clock that moves by waiting."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from etrade_flows.access.together import _Turn, _turns, together
from etrade_tasks import time_limit
from etrade_tasks.settings import RenewalSettings
from etrade_tasks.sharing import effort
from etrade_tasks.sharing.record import storage_scope
from etrade_tasks.time_limit import POLL_SECONDS


class Watch(SimpleNamespace):
    """A clock that moves only when somebody sleeps."""

    def sleep(self, seconds: float) -> None:
        """Move the clock by this many seconds at once."""
        self.at += seconds


def test_thread_does_not_wait_for_others_beyond_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that two others keep waiting renews by itself at its deadline, and the wait counts."""
    began_at = time.monotonic()
    watch = Watch(at=began_at, monotonic=lambda: watch.at)
    for module in (effort, time_limit):
        monkeypatch.setattr(module, "time", watch)
    turn = _Turn()
    monkeypatch.setitem(_turns, ("any", False, *storage_scope()), turn)
    with turn.first, turn.next:
        assert began_at == pytest.approx(together("any", lambda: None, lambda since: since), abs=1)
    waited = watch.at - began_at
    assert RenewalSettings().deadline.total_seconds() == pytest.approx(waited, abs=2 * POLL_SECONDS + 1)
