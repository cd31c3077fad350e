"""What the tests of the record and of the turn share: a session, and the folder of its record."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etrade_tasks import ETradeCredentials, TokenSession
from etrade_tasks.session import IDLE_LIMIT
from etrade_tasks.sharing import record as record_module
from etrade_tasks.sharing.record import Folder, Record, Records

NOON = datetime(2027, 6, 15, 16, tzinfo=UTC)


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
