"""The locks: exclusive, patient within bounds, and gone when their holder is."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.locking.protocol import LockManager

from etrade_tasks.sharing.locks import FileLockManager, PatientLockManager, RedisLockManager

Make = Callable[..., PatientLockManager]


@pytest.fixture(params=["file", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes lock managers that share one place, of either kind."""
    if request.param == "file":
        return lambda patience=lambda: 5.0: FileLockManager(tmp_path / "locks", patience)
    url = request.getfixturevalue("redis_url")
    return lambda patience=lambda: 5.0, life=30.0: RedisLockManager(url, patience, life)


def test_is_what_prefect_asks_for(make: Make) -> None:
    """Prefect accepts the manager as one of its own kind."""
    assert isinstance(make(), LockManager)


def test_lock_excludes_others(make: Make) -> None:
    """While one holds the lock, another gets it neither now nor by waiting within its patience."""
    holder, other = make(), make(patience=lambda: 0.1)
    assert holder.acquire_lock("key", "a")
    assert not other.acquire_lock("key", "b")
    assert not other.acquire_lock("key", "b", acquire_timeout=0)
    assert other.is_locked("key")
    assert holder.is_locked("key")
    holder.release_lock("key", "a")


def test_released_lock_can_be_had(make: Make) -> None:
    """Once released, the lock is free for the next."""
    first, second = make(), make()
    first.acquire_lock("key", "a")
    first.release_lock("key", "a")
    assert not second.is_locked("key")
    assert second.acquire_lock("key", "b")
    second.release_lock("key", "b")


def test_other_keys_are_free(make: Make) -> None:
    """The lock of one token does not hold up another's."""
    manager = make()
    assert manager.acquire_lock("key", "a")
    assert manager.acquire_lock("another", "a")
    manager.release_lock("key", "a")
    manager.release_lock("another", "a")


def test_holder_is_known(make: Make) -> None:
    """The manager tells the holder from anybody else, and gives the holder its lock again."""
    manager = make()
    manager.acquire_lock("key", "a")
    assert (True, False) == (manager.is_lock_holder("key", "a"), manager.is_lock_holder("key", "b"))
    assert manager.acquire_lock("key", "a")
    manager.release_lock("key", "a")
    assert not manager.is_lock_holder("key", "a")


def test_probe_takes_and_frees(make: Make) -> None:
    """A probe leaves its lock free for the next one, and holds up no other lock."""
    manager = make()
    manager.acquire_lock("key", "a")
    manager.probe()
    manager.probe()
    manager.release_lock("key", "a")


def test_probe_raises_what_keeps_locks_from_being_had(tmp_path: Path) -> None:
    """Where no lock can be had, the probe says why, and a renewal would go on without one."""
    (tmp_path / "file").touch()
    manager = FileLockManager(tmp_path / "file" / "locks", lambda: 0.0)
    with pytest.raises(OSError, match="file"):
        manager.probe()


def test_only_the_holder_releases(make: Make) -> None:
    """A release by somebody else changes nothing and is no error."""
    manager = make()
    manager.acquire_lock("key", "a")
    manager.release_lock("key", "b")
    assert manager.is_lock_holder("key", "a")
    manager.release_lock("key", "a")


def test_waiter_sees_the_lock_become_free(make: Make) -> None:
    """Waiting ends with yes once the lock is free, and with no when patience runs out first."""
    holder, waiter = make(), make(patience=lambda: 0.1)
    assert waiter.wait_for_lock("key")
    holder.acquire_lock("key", "a")
    assert not waiter.wait_for_lock("key")
    holder.release_lock("key", "a")
    assert waiter.wait_for_lock("key")


def test_spent_patience_still_looks_once(make: Make) -> None:
    """A caller past its deadline gets a lock that is free, and does not wait for one that is not."""
    manager, other = make(patience=lambda: -1.0), make(patience=lambda: -1.0)
    assert manager.acquire_lock("key", "a")
    assert not other.acquire_lock("key", "b")
    manager.release_lock("key", "a")


def test_async_forms_do_the_same(make: Make) -> None:
    """The async forms acquire and wait as the others do."""

    async def scenario() -> tuple[bool, bool, bool]:
        holder, other = make(), make(patience=lambda: 0.1)
        first = await holder.aacquire_lock("key", "a")
        second = await other.aacquire_lock("key", "b")
        holder.release_lock("key", "a")
        return first, second, await other.await_for_lock("key")

    assert (True, False, True) == asyncio.run(scenario())


def test_lock_files_are_private_and_name_nothing(tmp_path: Path) -> None:
    """The directory is its owner's alone, and a lock file's name reveals no key."""
    directory = tmp_path / "locks"
    manager = FileLockManager(directory, lambda: 1.0)
    manager.acquire_lock("etrade-session-live-fingerprint", "a")
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert [] == [path.name for path in directory.iterdir() if "fingerprint" in path.name]
    manager.release_lock("etrade-session-live-fingerprint", "a")


@pytest.mark.parametrize("broken", ["file", "redis"])
def test_place_that_does_not_serve_holds_nobody_up(tmp_path: Path, broken: str) -> None:
    """Where locks cannot be kept, nobody has one, nobody waits, and nothing is raised."""
    if broken == "file":
        (tmp_path / "file").write_text("in the way")
        manager: PatientLockManager = FileLockManager(tmp_path / "file" / "locks", lambda: 5.0)
    else:
        manager = RedisLockManager("redis://127.0.0.1:9", lambda: 5.0, 30.0)
    assert not manager.acquire_lock("key", "a")
    assert not manager.is_locked("key")
    assert manager.wait_for_lock("key")
    manager.release_lock("key", "a")


HOLDER = """
import sys, time
from etrade_tasks.sharing.locks import FileLockManager, RedisLockManager
from pathlib import Path
kind, place, life = sys.argv[1:]
manager = (FileLockManager(Path(place), lambda: 5.0) if kind == "file"
           else RedisLockManager(place, lambda: 5.0, float(life)))
assert manager.acquire_lock("key", "killed")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def killed() -> Callable[[str, str, float], None]:
    """Lets another process take the lock, and kills it while it holds it."""

    def kill(kind: str, place: str, life: float) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, kind, place, str(life)], stdout=subprocess.PIPE, env=os.environ
        )
        assert b"held\n" == process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()

    return kill


def test_killed_process_frees_its_file_lock(tmp_path: Path, killed: object) -> None:
    """A lock whose holder was killed is free at once."""
    killed("file", str(tmp_path), 0)
    manager = FileLockManager(tmp_path, lambda: 5.0)
    assert manager.acquire_lock("key", "next", acquire_timeout=0)
    manager.release_lock("key", "next")


def test_killed_process_frees_its_redis_lock_in_time(redis_url: str, killed: object) -> None:
    """A Redis lock whose holder was killed becomes free within its time to live."""
    killed("redis", redis_url, 1.0)
    manager = RedisLockManager(redis_url, lambda: 30.0, 30.0)
    assert not manager.acquire_lock("key", "next", acquire_timeout=0)
    assert manager.acquire_lock("key", "next")
    manager.release_lock("key", "next")


def test_expired_redis_lock_is_released_quietly(redis_url: str) -> None:
    """A holder that outlived its time to live neither raises nor frees what the next one holds."""
    slow, next_one = (
        RedisLockManager(redis_url, lambda: 5.0, 0.2),
        RedisLockManager(redis_url, lambda: 5.0, 30.0),
    )
    slow.acquire_lock("key", "slow")
    assert next_one.acquire_lock("key", "next")
    slow.release_lock("key", "slow")
    assert next_one.is_locked("key")
    assert not RedisLockManager(redis_url, lambda: 0.1, 30.0).acquire_lock("key", "third")
    next_one.release_lock("key", "next")
