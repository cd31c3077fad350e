"""Locks that end with their holder: files on one machine, or Redis for several.

Prefect's own `FileSystemLockManager` and `prefect-redis`'s `RedisLockManager` keep the lock of a killed
process forever. Here the operating system frees a file lock when its process ends, even if it is killed. A
Redis lock lasts seconds and is extended while its holder lives.

A lock saves calls to E*TRADE. Nothing waits here: `turn` decides who may wait, and for how long.
"""

import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from etrade_tasks.settings import RenewalSettings
from etrade_tasks.sharing.old_files import remove_old

if TYPE_CHECKING:
    import redis
    from redis.lock import Lock

LEASE = 5.0
"""Seconds that a Redis lock outlives a holder that was killed or stopped."""


class Held(Protocol):
    """A lock that this process holds."""

    def release(self) -> None:
        """Free the lock."""


class Locks(Protocol):
    """A place for locks that several processes share."""

    def try_lock(self, key: str) -> Held | None:
        """The lock on `key`, without waiting; None while another holds it.

        Raises:
            Exception: Whatever the lock's service raises if it does not work.
        """


def locks_for(settings: RenewalSettings) -> Locks:
    """Locks in Redis if the settings name a server, else in files."""
    if settings.lock_redis_url is None:
        return FileLocks(settings.lock_directory)
    return RedisLocks(settings.lock_redis_url.get_secret_value())


def probe(locks: Locks) -> None:
    """Take and free a test lock, to check that locks work.

    Raises:
        Exception: Whatever the lock's service raises if it does not work.
    """
    held = locks.try_lock("probe")
    if held is not None:  # else another probe holds it, so locks work
        held.release()


class FileLocks:
    """Locks among the threads and processes of one machine, by `flock`.

    A file system without `flock` raises: the soft lock that `filelock` would take instead outlives a killed
    process.

    Args:
        directory: Where the lock files are kept; created if needed. If several users share it, each must be
            able to write there (such as mode 2770 for a group). The files in it allow that.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def try_lock(self, key: str) -> Held | None:
        """Take the lock as `Locks.try_lock` says, with a file named after the key."""
        # Here, because its modules take time to import, and reusing a renewal needs no lock.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{_file_name(key)}.lock"
        if not path.exists():
            remove_old(self._directory, "*.lock")
        # Other users of the directory open the file too. Another thread may free the lock.
        lock = FileLock(path, timeout=0, mode=0o666, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        with suppress(OSError):  # another user's file; its owner updates its time
            os.utime(path)
        return lock


class RedisLocks:
    """Locks among machines that share a Redis server. Needs the extra `prefect-etrade[redis]`.

    A thread of the holder extends the lock, so it can be short. A killed or stopped holder loses it within
    `lease` seconds; a working one keeps it as long as needed.

    Args:
        url: The server, `redis://` or `rediss://`.
        lease: Seconds after which a lock is free if nobody extends it.
    """

    def __init__(self, url: str, lease: float = LEASE) -> None:
        self._url = url
        self._lease = lease
        self._client: redis.Redis | None = None

    def try_lock(self, key: str) -> Held | None:
        """Take the lock as `Locks.try_lock` says, with a key on the Redis server."""
        if self._client is None:
            import redis  # noqa: PLC0415  # an extra: imported only when needed

            # A server that does not answer must not use up the time for the renewal.
            self._client = redis.Redis.from_url(self._url, socket_connect_timeout=2, socket_timeout=2)
        lock = self._client.lock(f"etrade:{_file_name(key)}", timeout=self._lease, thread_local=False)
        return _Extended(lock, self._lease / 3) if lock.acquire(blocking=False) else None


class _Extended:
    """A Redis lock that a thread extends until it is released or lost.

    Args:
        lock: The lock, acquired.
        interval: Seconds from one extension to the next.
    """

    def __init__(self, lock: "Lock", interval: float) -> None:
        self._lock, self._interval = lock, interval
        self._released = threading.Event()
        self.thread = threading.Thread(target=self._keep, name="etrade-lock", daemon=True)
        self.thread.start()

    def _keep(self) -> None:
        from redis.exceptions import LockError  # noqa: PLC0415  # as in `try_lock`

        while not self._released.wait(self._interval):
            try:
                self._lock.reacquire()
            except LockError:  # another caller has it, or could have it; the renewal goes on without it
                return
            except Exception:  # noqa: BLE001, S112  # Redis was slow or down; the lease may last longer than that
                continue

    def release(self) -> None:
        """Free the lock; a lost lock frees itself."""
        self._released.set()
        with suppress(Exception):
            self._lock.release()


def _file_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
