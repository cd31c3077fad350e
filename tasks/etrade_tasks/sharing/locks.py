"""Locks that die with their holder, for Prefect's SERIALIZABLE transactions.

Prefect asks a lock manager for a lock before it looks for a cached record, and gives no time-out. Its own
`FileSystemLockManager` and `prefect-redis`'s `RedisLockManager` keep the lock of a killed process for ever,
and every later caller waits for ever too. Here a file lock is the operating system's, freed when the process
ends however it ends, and a Redis lock has a time to live.

Neither waits longer than its caller's patience. A lock that was not had is not an error: Prefect looks for
the record all the same, and the renewal goes on without it where it can. A lock saves calls to E*TRADE; the
token's life never hangs on it.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from filelock import FileLock, Timeout
from prefect.locking.protocol import LockManager

from etrade_tasks.logs import run_logger

if TYPE_CHECKING:
    import redis

POLL_SECONDS = 0.05
"""How often a waiter looks whether a lock has become free."""


class _Held(Protocol):
    """A lock that this process holds."""

    def release(self) -> None: ...


class PatientLockManager(LockManager):
    """What both kinds of lock share: who holds what, and how long to wait.

    Args:
        patience: Seconds that a caller may still wait, asked anew at each wait.
    """

    def __init__(self, patience: Callable[[], float]) -> None:
        self._patience = patience
        self._held: dict[str, tuple[str, _Held]] = {}
        self._mutex = threading.Lock()

    @abstractmethod
    def _try_lock(self, key: str, seconds: float) -> _Held | None:
        """The lock on `key`, waiting at most that long; None if another holds it still.

        Raises:
            Exception: Whatever the lock's service raises where it does not serve.
        """

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,  # noqa: ARG002  # a lock ends with its process or its time to live
    ) -> bool:
        """Whether the lock was had before the caller's patience, or `acquire_timeout` seconds, ran out."""
        if self.is_lock_holder(key, holder):
            return True
        seconds = max(0.0, self._patience() if acquire_timeout is None else acquire_timeout)
        try:
            held = self._try_lock(key, seconds)
        except Exception as error:  # noqa: BLE001  # a renewal without a lock beats a token that dies
            run_logger().warning(
                "No lock could be had (%s); the renewal goes on without it.", type(error).__name__
            )
            return False
        if held is None:
            return False
        with self._mutex:
            self._held[key] = (holder, held)
        return True

    def release_lock(self, key: str, holder: str) -> None:
        """Free the lock if `holder` has it; a lock that was lost or never had is no error."""
        if not self.is_lock_holder(key, holder):
            return
        with self._mutex:
            _, held = self._held.pop(key)
        try:
            held.release()
        except Exception as error:  # noqa: BLE001  # expired or unreachable: it frees itself
            run_logger().debug("A lock was gone before its release (%s).", type(error).__name__)

    def is_locked(self, key: str) -> bool:
        """Whether anybody holds the lock now."""
        if key in self._held:
            return True
        return not self.wait_for_lock(key, timeout=0)

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether `holder` has the lock through this manager."""
        with self._mutex:
            return self._held.get(key, ("", None))[0] == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Whether the lock became free within `timeout` seconds, or the caller's patience."""
        try:
            held = self._try_lock(key, max(0.0, self._patience() if timeout is None else timeout))
            if held is None:
                return False
            held.release()
        except Exception:  # noqa: BLE001  # a service that does not serve holds nobody up
            return True
        return True

    def probe(self) -> None:
        """Take and free a lock that guards nothing, to see whether locks can be had.

        Raises:
            Exception: Whatever the lock's service raises where it does not serve.
        """
        held = self._try_lock("probe", 0)
        if held is not None:  # else another probe holds it, which proves as much
            held.release()

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """As `acquire_lock`, for async code."""
        return await asyncio.to_thread(self.acquire_lock, key, holder, acquire_timeout, hold_timeout)

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """As `wait_for_lock`, for async code."""
        return await asyncio.to_thread(self.wait_for_lock, key, timeout)


class FileLockManager(PatientLockManager):
    """Locks among the threads and processes of one machine.

    Args:
        directory: Where the lock files are kept; made if need be, for its owner alone.
        patience: Seconds that a caller may still wait.
    """

    def __init__(self, directory: Path, patience: Callable[[], float]) -> None:
        super().__init__(patience)
        self._directory = directory

    def _try_lock(self, key: str, seconds: float) -> _Held | None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{_file_name(key)}.lock"
        # Prefect may take a lock in one thread and free it in another.
        lock = FileLock(path, timeout=seconds, thread_local=False, poll_interval=POLL_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock


class RedisLockManager(PatientLockManager):
    """Locks among machines that share a Redis server. Needs the extra `prefect-etrade[redis]`.

    Args:
        url: The server, `redis://` or `rediss://`.
        patience: Seconds that a caller may still wait.
        time_to_live: Seconds after which a lock is free though its holder never said so.
    """

    def __init__(self, url: str, patience: Callable[[], float], time_to_live: float) -> None:
        super().__init__(patience)
        self._url = url
        self.time_to_live = time_to_live

    def _try_lock(self, key: str, seconds: float) -> _Held | None:
        lock = self._client().lock(
            f"etrade:{_file_name(key)}",
            timeout=self.time_to_live,
            sleep=POLL_SECONDS,
            thread_local=False,
        )
        if lock.acquire(blocking=seconds > 0, blocking_timeout=seconds or None):
            return cast("_Held", lock)
        return None

    def _client(self) -> redis.Redis:
        import redis  # noqa: PLC0415  # an extra: imported where it is asked for

        # A server that does not answer must not use up the time in which the token could be renewed.
        return redis.Redis.from_url(self._url, socket_connect_timeout=2, socket_timeout=5)


def _file_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
