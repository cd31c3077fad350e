"""Locks that end with their holder: files on one machine, or Redis among several.

Prefect's own `FileSystemLockManager` and `prefect-redis`'s `RedisLockManager` keep the lock of a killed
process forever. Here a file lock belongs to the operating system, which frees it when the process ends,
however it ends; a Redis lock lasts seconds and is extended while its holder lives.

A lock saves calls to E*TRADE. It never waits here: who may wait, and for how long, is decided in `turn`.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from etrade_tasks.settings import RenewalSettings
from etrade_tasks.sharing.old_files import remove_old

if TYPE_CHECKING:
    import redis

LEASE = 5.0
"""Seconds that a Redis lock outlives a holder that was killed or stopped."""

KEPT = timedelta(days=2)
"""How long an unused lock file is kept: no token is asked for after its day."""


class Held(Protocol):
    """A lock that this process holds."""

    def release(self) -> None:
        """Free the lock."""


class Locks(Protocol):
    """Where processes meet."""

    def try_lock(self, key: str) -> Held | None:
        """The lock on `key`, without waiting; None while another holds it.

        Raises:
            Exception: Whatever the lock's service raises where it does not serve.
        """


def locks_for(settings: RenewalSettings) -> Locks:
    """Locks in Redis if the settings name a server, else in files."""
    if settings.lock_redis_url is None:
        return FileLocks(settings.lock_directory)
    return RedisLocks(settings.lock_redis_url.get_secret_value())


def probe(locks: Locks) -> None:
    """Take and free a lock that guards nothing, to see whether locks can be had.

    Raises:
        Exception: Whatever the lock's service raises where it does not serve.
    """
    held = locks.try_lock("probe")
    if held is not None:  # else another probe holds it, which proves as much
        held.release()


class FileLocks:
    """Locks among the threads and processes of one machine, by `flock`.

    A file system without `flock` raises: the soft lock that `filelock` would take instead outlives a process
    that is killed.

    Args:
        directory: Where the lock files are kept; made if need be. A directory of several users must let each
            of them write (as 2770 does for a group); the files in it do.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def try_lock(self, key: str) -> Held | None:
        """As `Locks.try_lock`, by a file named for the key."""
        # Here, since its modules take time to import, and who reuses a renewal needs no lock.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{_file_name(key)}.lock"
        if not path.exists():
            remove_old(self._directory, "*.lock", KEPT)
        # Other users of the directory open the file too. A lock may be freed by another thread.
        lock = FileLock(path, timeout=0, mode=0o666, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        with suppress(OSError):  # another user's file; its own user keeps it young
            os.utime(path)
        return lock


class RedisLocks:
    """Locks among machines that share a Redis server. Needs the extra `prefect-etrade[redis]`.

    A lock is extended by a thread of its holder, so it can be short: a holder that is killed or stopped loses
    it within `lease` seconds, and one that works keeps it for as long as it takes.

    Args:
        url: The server, `redis://` or `rediss://`.
        lease: Seconds after which a lock is free though nobody freed it.
    """

    def __init__(self, url: str, lease: float = LEASE) -> None:
        self._url = url
        self._lease = lease
        self._client: redis.Redis | None = None

    def try_lock(self, key: str) -> Held | None:
        """As `Locks.try_lock`, by a key of the Redis server."""
        lock = self._server().lock(f"etrade:{_file_name(key)}", timeout=self._lease, thread_local=False)
        if not lock.acquire(blocking=False):
            return None
        from redis.exceptions import LockError  # noqa: PLC0415  # as in `_server`

        return _Extended(lock.reacquire, lock.release, self._lease / 3, lost=LockError)

    def _server(self) -> "redis.Redis":
        if self._client is None:
            import redis  # noqa: PLC0415  # an extra: imported where it is asked for

            # A server that does not answer must not use up the time in which the token could be renewed.
            self._client = redis.Redis.from_url(self._url, socket_connect_timeout=2, socket_timeout=2)
        return self._client


class _Extended:
    """A lock that a thread extends until it is released or lost.

    Args:
        extend: Gives it another lease.
        free: Frees it.
        interval: Seconds from one extension to the next.
        lost: What `extend` raises where somebody else has the lock by now, or could have it.
    """

    def __init__(
        self,
        extend: Callable[[], object],
        free: Callable[[], object],
        interval: float,
        lost: type[Exception],
    ) -> None:
        self._extend, self._free, self._interval, self._lost = extend, free, interval, lost
        self._released = threading.Event()
        self.thread = threading.Thread(target=self._keep, name="etrade-lock", daemon=True)
        self.thread.start()

    def _keep(self) -> None:
        while not self._released.wait(self._interval):
            try:
                self._extend()
            except self._lost:  # who renews goes on without it
                return
            except Exception:  # noqa: BLE001, S112  # Redis was slow or away once: the lease may outlast that
                continue

    def release(self) -> None:
        """Free the lock; one that is lost already frees itself."""
        self._released.set()
        with suppress(Exception):
            self._free()


def _file_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
