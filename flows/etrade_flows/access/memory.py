"""Remembers sessions in this process, so that asking again costs microseconds.

A session is remembered by the credentials' name. It is valid only for its own token, Prefect server and
result storage. If another process signs out, or E*TRADE refuses the token there, that process rewrites the
record. If the record is a file, this process notices at once. It checks the credentials themselves, and a
record in other storage, every `LOOK_SECONDS`.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
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
"""How long memory answers before it checks the credentials again."""

_LOOK_LIMIT = 2.0  # seconds; if the server does not answer by then, nothing changes
_PAUSE = 20.0  # seconds before such a server is asked again


@dataclass(frozen=True, slots=True)
class _Known:
    """A session that this process has seen renewed, and what its validity depends on."""

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
_swapping = threading.Lock()


def remember(name: str, session: TokenSession, loaded: ETradeCredentials) -> TokenSession:
    """Keep the session in this process's memory, and return it.

    Args:
        name: The credentials' name.
        session: The result of a renewal.
        loaded: The credentials that were renewed.
    """
    moment, file = time.monotonic(), None
    with suppress(Exception):  # the reason why the storage cannot be opened is already logged
        file = within(_LOOK_LIMIT, lambda: record_file(loaded))
    stamp = _stamp(file)  # before the record is read, so that no change is missed
    record = Records(_LOOK_LIMIT).read(loaded)
    if record.session is None or record.session.renewed_at != session.renewed_at:
        record, file = Record(session=session, recorded_at=now()), None  # it was not stored
    _known[name] = _Known(
        answer=session.model_copy(update={"reused": True, "attempts": 0}),
        record=record,
        window=renewal_settings().reuse_window,
        token=_token(loaded),
        scope=storage_scope(),
        file=file,
        stamp=stamp,
        # A renewal made before a refusal is no answer to it, even if it is remembered after it.
        known_at=moment - max(0.0, (now() - (record.recorded_at or now())).total_seconds()),
        looked_at=moment,
        saved=times_saved(),
    )
    return session


def recall(name: str, since: float | None = None) -> TokenSession | None:
    """The session in memory, if its renewal is still valid; None if there is none.

    Args:
        name: The credentials' name.
        since: Only a session remembered after this moment of the monotonic clock.
    """
    known = _known.get(name)
    if known is None or (since is not None and known.known_at <= since):
        return None
    answers = known.scope == storage_scope() and known.record.is_within(known.window, now())
    if answers and _stamp(known.file) == known.stamp and _token_is_the_same(name, known):
        return known.answer
    _known.pop(name, None)
    return None


def forget(name: str) -> None:
    """Remove the session of this name from memory."""
    _known.pop(name, None)


def forget_sessions() -> None:
    """Empty this process's memory."""
    _known.clear()


def _token_is_the_same(name: str, known: _Known) -> bool:
    """Whether the credentials still hold the remembered token, and the record is still that of its renewal.

    It checks at most once in `LOOK_SECONDS`, unless this process has saved credentials meanwhile.
    """
    saved = times_saved()
    if time.monotonic() - known.looked_at < LOOK_SECONDS and known.saved == saved:
        return True
    looking = replace(known, looked_at=time.monotonic())
    if not _swapped(name, known, looking):  # another thread looks, or has looked
        latest = _known.get(name)
        return latest is not None and (latest.saved, latest.answer) == (saved, known.answer)
    try:
        current = within(_LOOK_LIMIT, lambda: current_credentials(name))
    except ETradeError:
        return False
    except Exception:  # noqa: BLE001  # unknown while the server does not answer
        _swapped(name, looking, replace(looking, looked_at=time.monotonic() + _PAUSE))
        return True
    if current is None or current.access_token is None or _token(current) != known.token:
        return False
    _swapped(name, looking, replace(looking, looked_at=time.monotonic(), saved=saved))
    # A file was checked by its stamp; any other storage is read.
    return known.file is not None or _still_answers(known.record, Records(_LOOK_LIMIT).read(current))


def _swapped(name: str, known: _Known, changed: _Known) -> bool:
    """Whether `changed` is now remembered instead of `known`; not if another thread came first."""
    with _swapping:
        if _known.get(name) is not known:
            return False
        _known[name] = changed
        return True


def _still_answers(known: Record, found: Record) -> bool:
    """Whether a remembered renewal is still valid, by the record as it is now.

    A renewal that could not be recorded stays valid despite an older record, but not after a refusal.
    """
    if known.renewal:
        return found == NOTHING or found.renewal == known.renewal
    return found == NOTHING or found.session is not None


def _token(credentials: ETradeCredentials) -> tuple[str, str]:
    return credentials.environment, credentials.fingerprint


def _stamp(file: Path | None) -> tuple[int, ...] | None:
    """A value that changes whenever the file is rewritten; None if there is no file."""
    if file is None:
        return None
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
