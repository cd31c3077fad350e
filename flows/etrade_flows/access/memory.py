"""What this process remembers of its sessions, so that asking again costs microseconds.

A session is remembered for a name, and holds only for the token that it belongs to, at the Prefect server and
in the result storage where it was found. What ends it elsewhere is seen at once where the record of the
renewal is a file: another process writes it anew when it signs out, or when E*TRADE refuses the token. The
credentials themselves, and a record in other storage, are looked at again every `LOOK_SECONDS`.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials, times_saved
from etrade_tasks.errors import ETradeError
from etrade_tasks.load_credentials import current_credentials
from etrade_tasks.session import TokenSession
from etrade_tasks.settings import renewal_settings
from etrade_tasks.sharing.record import NOTHING, Record, Records, record_file, storage_scope
from etrade_tasks.time_limit import within

LOOK_SECONDS = 1.0
"""How long memory answers without a look at the credentials."""

_LOOK_LIMIT = 2.0  # seconds; a server that does not answer leaves things as they were
_PAUSE = 20.0  # seconds before such a server is asked again


@dataclass(frozen=True, slots=True)
class _Known:
    """A session that this process has seen renewed, and what its answer depends on."""

    answer: TokenSession
    record: Record
    window: timedelta
    token: tuple[str, str]
    scope: tuple[str, ...]
    file: Path | None
    stamp: tuple[int, ...] | None
    known_at: float
    looked_at: float
    saved: int


_known: dict[str, _Known] = {}


def remember(name: str, session: TokenSession, loaded: ETradeCredentials) -> TokenSession:
    """The same session, kept in this process's memory.

    Args:
        name: The credentials' name.
        session: What a renewal gave.
        loaded: The credentials that were renewed.
    """
    moment, file = time.monotonic(), None
    with suppress(Exception):  # why the storage cannot be opened has been logged by then
        file = within(_LOOK_LIMIT, lambda: record_file(loaded))
    stamp = _stamp(file)  # before the record is read, so that no change goes unseen
    record = Records(_LOOK_LIMIT).read(loaded)
    if record.session is None or record.session.renewed_at != session.renewed_at:
        record, file = Record(session=session, recorded_at=now()), None  # which was not kept
    _known[name] = _Known(
        answer=session.model_copy(update={"reused": True, "attempts": 0}),
        record=record,
        window=renewal_settings().reuse_window,
        token=_token(loaded),
        scope=storage_scope(),
        file=file,
        stamp=stamp,
        known_at=moment,
        looked_at=moment,
        saved=times_saved(),
    )
    return session


def recall(name: str, at: datetime) -> TokenSession | None:
    """The session in memory, if its renewal still answers `at` that moment; None if there is none."""
    known = _known.get(name)
    if known is None:
        return None
    answers = known.scope == storage_scope() and known.record.is_within(known.window, at)
    if answers and _stamp(known.file) == known.stamp and _token_is_the_same(name, known):
        return known.answer
    _known.pop(name, None)
    return None


def recall_since(name: str, moment: float, at: datetime) -> TokenSession | None:
    """As `recall`, of a session that this process learned of after `moment`, by the monotonic clock."""
    known = _known.get(name)
    return recall(name, at) if known is not None and known.known_at > moment else None


def forget(name: str) -> None:
    """Let the next to ask for this name take the long way."""
    _known.pop(name, None)


def forget_sessions() -> None:
    """Empty this process's memory."""
    _known.clear()


def _token_is_the_same(name: str, known: _Known) -> bool:
    """Whether the credentials hold the token that is remembered, and its renewal is still the one recorded.

    Not more than once in `LOOK_SECONDS` are they asked, unless this process has saved some meanwhile.
    """
    saved = times_saved()
    if time.monotonic() - known.looked_at < LOOK_SECONDS and known.saved == saved:
        return True
    try:
        current = within(_LOOK_LIMIT, lambda: current_credentials(name))
    except ETradeError:
        return False
    except Exception:  # noqa: BLE001  # nobody can know while the server does not answer
        _known[name] = replace(known, looked_at=time.monotonic() + _PAUSE)
        return True
    if current is None or current.access_token is None or _token(current) != known.token:
        return False
    _known[name] = replace(known, looked_at=time.monotonic(), saved=saved)
    # A file's stamp has told by now; any other storage is read.
    return known.file is not None or _still_answers(known.record, Records(_LOOK_LIMIT).read(current))


def _still_answers(known: Record, found: Record) -> bool:
    """Whether what is recorded now leaves a remembered renewal standing.

    A renewal that could not be recorded outlives an older record, and no refusal.
    """
    if known.renewal:
        return found == NOTHING or found.renewal == known.renewal
    return found == NOTHING or found.session is not None


def _token(credentials: ETradeCredentials) -> tuple[str, str]:
    return credentials.environment, credentials.fingerprint


def _stamp(file: Path | None) -> tuple[int, ...] | None:
    """What changes whenever the file is written anew; None if there is no file."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
