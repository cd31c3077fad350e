"""The record that a renewal leaves for others, and the storage it is kept in.

A record is a small JSON file in Prefect's default result storage: the folder of `PREFECT_LOCAL_STORAGE_PATH`,
or the storage block that the server or `PREFECT_DEFAULT_RESULT_STORAGE_BLOCK` names. It holds no secret.
It does not matter where a calling flow keeps its own results.

We do not use Prefect's cache of a task. It trusts its own expiration, even if that came from another window
or a wrong clock. Inside another task or transaction it writes only when that ends. It cannot end a record
that turned out wrong. And it waits for a storage that does not answer.

A storage that fails or is slow only costs a warning and the calls that a record would have saved.
"""

import asyncio
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, TypeVar, cast

from prefect.context import SyncClientContext
from prefect.filesystems import LocalFileSystem, WritableFileSystem
from prefect.results import get_default_result_storage
from prefect.settings import get_current_settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ERRORS, FACTS, ETradeError
from etrade_tasks.logs import run_logger
from etrade_tasks.session import Instant, TokenSession
from etrade_tasks.sharing.old_files import remove_old
from etrade_tasks.time_limit import within

STORAGE_LIMIT = 5.0
"""The longest, in seconds, that reading or writing a record may take."""

_PREFIX = "etrade-session-"
_OPENED_FOR = 60.0  # seconds until a process asks the server again where results are kept

T = TypeVar("T")


class Failure(BaseModel):
    """Why a renewal failed, for callers that waited for it."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="The name of the error's class.")
    message: str = Field(description="What happened.")
    advice: str = Field(description="What to do next.")
    next_in: float | None = Field(description="Seconds until the next attempt; null if there is none.")
    credentials: str | None = Field(default=None, description="The credentials' name.")
    outcome: str | None = Field(default=None, description="What E*TRADE's last answer means.")
    problem: str | None = Field(default=None, description="The `oauth_problem` that E*TRADE named.")
    status: int | None = Field(default=None, description="The HTTP status of its last answer.")
    expires_at: Instant | None = Field(default=None, description="The midnight that ended the session.")
    attempts: int = Field(default=0, description="Calls made to E*TRADE.")

    def error(self) -> ETradeError:
        """The error for another caller to raise."""
        facts = {name: getattr(self, name) for name in FACTS}
        return ERRORS.get(self.kind, ETradeError)(self.message, advice=self.advice, **facts)


class Record(BaseModel):
    """What is known about one token: its last renewal, unless it was refused since, and the last failure."""

    model_config = ConfigDict(frozen=True)

    session: TokenSession | None = Field(default=None, description="The result of the last renewal.")
    recorded_at: Instant | None = Field(default=None, description="When it came, by this machine's clock.")
    failure: Failure | None = Field(default=None, description="Why an attempt since then failed.")
    renewal: str = Field(default="", description="Identifies the renewal.")
    reported: str = Field(
        default="", description="The credentials whose report shows it; empty if none shows it."
    )
    mark: str = Field(
        default_factory=lambda: secrets.token_hex(8), description="New each time a record is written."
    )

    @classmethod
    def of(cls, session: TokenSession, *, reported: str = "") -> "Record":
        """The record of a renewal that was just made, with the name that it is reported under."""
        return cls(session=session, recorded_at=now(), renewal=secrets.token_hex(8), reported=reported)

    def failed(self, error: ETradeError, next_in: float | None) -> "Record":
        """The same record, with why an attempt since then failed and the seconds until the next, if any."""
        told = {"message": error.message, "advice": error.advice, **error.facts}
        failure = Failure(kind=type(error).__name__, next_in=next_in, **told)
        return Record(
            session=self.session, recorded_at=self.recorded_at, renewal=self.renewal, failure=failure
        )

    @property
    def clock_offset(self) -> timedelta:
        """What to add to the machine's clock to get E*TRADE's, as the last renewal learned it."""
        if self.session is None or self.recorded_at is None:
            return timedelta(0)
        return self.session.renewed_at - self.recorded_at

    def answer(self, credentials: ETradeCredentials, at: datetime, window: timedelta) -> TokenSession | None:
        """The session, if its renewal is still valid for these credentials; None if not.

        If a clock was set since the renewal, it could make the renewal look too young. So its age is checked
        by both clocks: the machine's and E*TRADE's. Neither may be past the midnight that ends the session.

        Args:
            credentials: The caller's credentials.
            at: The time by this machine's clock.
            window: The reuse window.
        """
        session = self.session
        if session is None:
            return None
        theirs = session.fingerprint, session.environment
        if theirs != (credentials.fingerprint, credentials.environment):
            return None
        return session if self.is_within(window, at) else None

    def is_within(self, window: timedelta, at: datetime) -> bool:
        """Whether the renewal is at most `window` old at `at`, and its session is not over."""
        if self.session is None or self.recorded_at is None:
            return False
        age = at - self.recorded_at
        older = max(age, at - self.session.renewed_at)
        later = max(at, at + self.clock_offset)
        return timedelta(0) <= age and older < window and later < self.session.expires_at


NOTHING = Record(mark="")
"""The record of a token that was never renewed."""


def record_key(credentials: ETradeCredentials) -> str:
    """The name of the record: this token, in this environment.

    Prefect hashes every `SecretStr` alike, so the name is made from the fingerprint. It contains no date: the
    record itself says when its session ends, and with a wrong clock one machine would not find another's
    record.
    """
    return f"{_PREFIX}{credentials.environment}-{credentials.fingerprint}.json"


class Records:
    """Reads and writes records, with a time limit. Make one for each renewal.

    If the storage does not answer in time, the same object does not ask it again.

    Args:
        limit: The longest, in seconds, that one read or write may take.

    Attributes:
        trouble: What went wrong with the storage, as a sentence; None if nothing did.
    """

    def __init__(self, limit: float = STORAGE_LIMIT) -> None:
        self._limit = limit
        self.trouble: str | None = None

    def read(self, credentials: ETradeCredentials) -> Record:
        """The record of the token; `NOTHING` if there is none or it cannot be read."""
        key = record_key(credentials)
        found = self._within_limit("read", lambda: open_storage().read(key))
        try:
            return Record.model_validate_json(found) if found else NOTHING
        except ValidationError:  # from another version, or not ours
            return NOTHING

    def write(self, credentials: ETradeCredentials, record: Record) -> None:
        """Replace the record with this one."""
        key, content = record_key(credentials), record.model_dump_json().encode()
        self._within_limit("written", lambda: open_storage().write(key, content))

    def end(self, credentials: ETradeCredentials) -> None:
        """End the record of this token's last renewal, because E*TRADE refused it or somebody signed out."""
        self.write(credentials, Record())

    def _within_limit(self, done: str, action: Callable[[], T]) -> T | None:
        """The action's result; None if it failed or did not end in time."""
        if self.trouble is not None:
            return None
        try:
            return within(self._limit, action)
        except Exception as error:  # noqa: BLE001  # every kind of storage fails in its own way
            why = f"no answer within {self._limit:g} s" if isinstance(error, TimeoutError) else None
            self.trouble = f"The record of renewals could not be {done} ({why or type(error).__name__})."
            run_logger().warning("%s The renewal goes on without it.", self.trouble)
            return None


def record_file(credentials: ETradeCredentials) -> Path | None:
    """The file that holds the record; None if records are not kept in a folder."""
    storage = open_storage()
    return storage.path / record_key(credentials) if isinstance(storage, Folder) else None


@dataclass(frozen=True, slots=True)
class Folder:
    """Records as files on this machine, or in a shared folder.

    Attributes:
        path: The folder.
        is_shared: Whether a storage block names the folder; then we assume that other machines reach it.
    """

    path: Path
    is_shared: bool

    def read(self, key: str) -> bytes | None:
        """The content stored under the key; None if there is none.

        Raises:
            OSError: The folder cannot be read.
        """
        try:
            return (self.path / key).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, key: str, content: bytes) -> None:
        """Store the content under the key, all or nothing, because others may read at the same time.

        Raises:
            OSError: The folder cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / key
        if not path.exists():
            remove_old(self.path, f"{_PREFIX}*")
        half = self.path / f".{key}.{secrets.token_hex(4)}"
        try:
            half.write_bytes(content)
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        """Remove what is stored under the key, if possible."""
        with suppress(OSError):
            (self.path / key).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Block:
    """Records in any other of Prefect's storage blocks. We assume that other machines reach it."""

    block: WritableFileSystem
    is_shared: ClassVar[bool] = True

    def read(self, key: str) -> bytes | None:
        """Read as `Folder.read` does. Each kind of block reports missing content in its own way."""
        try:
            return cast("bytes", _done(self.block.read_path(key)))
        except Exception:  # noqa: BLE001
            return None

    def write(self, key: str, content: bytes) -> None:
        """Write as `Folder.write` does.

        Raises:
            Exception: What the block raises.
        """
        _done(self.block.write_path(key, content))

    def delete(self, key: str) -> None:
        """Do nothing: Prefect's storage blocks have no common way to delete."""


def _done(result: object) -> object:
    """The result of a block's method, which is a coroutine if the calling flow is async."""

    async def wait(for_what: Awaitable[object]) -> object:
        return await for_what

    return asyncio.run(wait(result)) if inspect.isawaitable(result) else result


def storage_scope() -> tuple[str, ...]:
    """The settings that decide where records are kept, as text: server, storage block and folder."""
    settings = get_current_settings()
    results = settings.results
    return str(settings.api.url), str(results.default_storage_block), str(results.local_storage_path)


def default_result_storage() -> WritableFileSystem:
    """The block in which Prefect keeps results by default.

    Raises:
        Exception: What Prefect raises for a block that cannot be loaded.
    """
    # Without a shared client, Prefect would ask the server with a client that it never closes.
    with SyncClientContext.get_or_create():
        # Without `_sync`, Prefect would return a coroutine if the calling flow is async.
        return cast("WritableFileSystem", get_default_result_storage(_sync=True))  # type: ignore[call-arg]


_opened: dict[tuple[str, ...], tuple[float, Folder | Block]] = {}


def open_storage() -> Folder | Block:
    """Prefect's default result storage.

    Raises:
        Exception: What Prefect raises for a block that cannot be loaded.
    """
    scope = storage_scope()
    opened_at, storage = _opened.get(scope, (0.0, None))
    if storage is None or time.monotonic() - opened_at > _OPENED_FOR:
        found = default_result_storage()
        if isinstance(found, LocalFileSystem) and found.basepath is not None:
            is_shared = found._block_document_id is not None  # noqa: SLF001  # Prefect has no public name
            storage = Folder(Path(found.basepath).expanduser(), is_shared)
        else:
            storage = Block(found)
        _opened[scope] = time.monotonic(), storage
    return storage
