"""What the tests of sharing have in common: a clock, a session, and the folder of its record."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etrade_tasks import ETradeCredentials, TokenSession, time_limit
from etrade_tasks.session import IDLE_LIMIT
from etrade_tasks.sharing import effort as effort_module
from etrade_tasks.sharing import record as record_module
from etrade_tasks.sharing import turn as turn_module
from etrade_tasks.sharing.record import Folder, Record, Records

NOON = datetime(2027, 6, 15, 16, tzinfo=UTC)


class Watch:
    """A clock that moves only when somebody sleeps or a test sets it."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Move the clock by this many seconds at once."""
        self.seconds += seconds


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Makes efforts and waiting callers use this clock."""
    passing = Watch()
    for module in (turn_module, effort_module, time_limit):
        monkeypatch.setattr(module, "time", passing)
    return passing


@pytest.fixture
def session(credentials: ETradeCredentials) -> TokenSession:
    """The session of a renewal at noon."""
    return TokenSession(
        environment=credentials.environment,
        fingerprint=credentials.fingerprint,
        renewed_at=NOON,
        idle_at=NOON + IDLE_LIMIT,
        expires_at=NOON + timedelta(hours=12),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the records in a folder of the test's own."""
    monkeypatch.setattr(record_module, "open_storage", lambda: Folder(tmp_path, is_shared=False))
    return tmp_path


@pytest.fixture
def renewed(credentials: ETradeCredentials, session: TokenSession) -> Callable[[], None]:
    """Keeps the record of the session's renewal."""
    return lambda: Records().write(credentials, Record.of(session))
