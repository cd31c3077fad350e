"""The locks: exclusive, tried without waiting, and free once their holder is gone."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from etrade_tasks.settings import RenewalSettings
from etrade_tasks.sharing.locks import FileLocks, Locks, RedisLocks, _Extended, locks_for, probe
from etrade_tasks.sharing.old_files import KEPT, remove_old

Make = Callable[..., Locks]


@pytest.fixture(params=["file", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes locks of either kind that share one place."""
    if request.param == "file":
        return lambda: FileLocks(tmp_path / "locks")
    url = request.getfixturevalue("redis_url")
    return lambda: RedisLocks(url)


def test_lock_excludes_others(make: Make) -> None:
    """While a lock is held, nobody else gets it, from the same object or another, but other keys are free."""
    locks = make()
    held, another = locks.try_lock("key"), locks.try_lock("another")
    assert None not in (held, another)
    assert (None, None) == (locks.try_lock("key"), make().try_lock("key"))
    held.release()
    another.release()


def test_released_lock_can_be_had(make: Make) -> None:
    """A lock that one thread has taken and another has released can be taken again."""
    with ThreadPoolExecutor() as pool:
        held = pool.submit(make().try_lock, "key").result()
    held.release()
    again = make().try_lock("key")
    assert again is not None
    again.release()


def test_probe_leaves_its_lock_free(make: Make) -> None:
    """A probe can be made twice, and while another lock is held."""
    locks = make()
    held = locks.try_lock("key")
    probe(locks)
    probe(locks)
    held.release()


@pytest.mark.parametrize("broken", ["file", "redis"])
def test_place_that_does_not_serve_raises(tmp_path: Path, broken: str) -> None:
    """If locks cannot be kept, trying to take one raises the reason."""
    (tmp_path / "file").touch()
    locks = FileLocks(tmp_path / "file" / "locks") if broken == "file" else RedisLocks("redis://127.0.0.1:9")
    with pytest.raises(Exception, match=r"file|127\.0\.0\.1"):
        locks.try_lock("key")


def test_file_system_without_flock_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `flock` there is no soft lock instead, because that would outlive a killed process."""

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    with pytest.raises(OSError, match="not implemented"):
        FileLocks(tmp_path).try_lock("key")
    monkeypatch.undo()
    held = FileLocks(tmp_path).try_lock("key")  # no file was left that says it is held
    assert held is not None
    held.release()


def test_lock_files_are_private_and_name_nothing(tmp_path: Path) -> None:
    """A new lock directory is open to its owner only, and a lock file's name shows no key."""
    directory = tmp_path / "locks"
    FileLocks(directory).try_lock("etrade-session-live-fingerprint").release()
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert [] == [path.name for path in directory.iterdir() if "fingerprint" in path.name]


def test_lock_file_of_another_user_can_be_opened() -> None:
    """If the directory allows it, another user may write to this user's lock file, whatever the umask."""
    directory = Path(tempfile.mkdtemp())  # other users cannot enter pytest's own folders
    before = os.umask(0o077)
    try:
        directory.chmod(0o777)
        FileLocks(directory).try_lock("key").release()
        (path,) = directory.glob("*.lock")
        assert 0o666 == stat.S_IMODE(path.stat().st_mode)
        other = {"user": 65534} if os.geteuid() == 0 else {}
        subprocess.run(["/bin/sh", "-c", 'exec 9>>"$0"', str(path)], check=True, **other)
    finally:
        os.umask(before)
        shutil.rmtree(directory)


def test_home_in_the_lock_directory_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`~` in `ETRADE_LOCK_DIRECTORY` is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ETRADE_LOCK_DIRECTORY", "~/locks")
    assert tmp_path / "locks" == RenewalSettings().lock_directory


def test_lock_files_that_nobody_uses_are_removed(tmp_path: Path) -> None:
    """A new lock file removes those that nobody has used for days, and none that is in use."""
    FileLocks(tmp_path).try_lock("key").release()
    (file,) = tmp_path.glob("*.lock")
    left = tmp_path / "left.lock"
    left.touch()
    for each in (file, left):
        os.utime(each, (time.time() - KEPT.total_seconds() - 60,) * 2)
    held = FileLocks(tmp_path).try_lock("key")
    FileLocks(tmp_path).try_lock("another").release()
    assert (True, False) == (file.exists(), left.exists())
    held.release()


def test_redis_takes_the_place_of_files_by_a_setting(redis_url: str) -> None:
    """`ETRADE_LOCK_REDIS_URL` moves the locks from files to Redis."""
    kinds = [type(locks_for(RenewalSettings(lock_redis_url=url))) for url in (None, redis_url)]
    assert [FileLocks, RedisLocks] == kinds


def test_looking_for_old_files_takes_no_more_for_each_of_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that makes many files looks at each only a few times."""
    seen, glob = [0], Path.glob

    def counted(self: Path, pattern: str) -> Iterator[Path]:
        for path in glob(self, pattern):
            seen[0] += 1
            yield path

    monkeypatch.setattr(Path, "glob", counted)
    for number in range(1_000):
        remove_old(tmp_path, "*.lock")
        (tmp_path / f"{number}.lock").touch()
    assert 0 < seen[0] <= 3_000


HOLDER = """
import sys, time
from pathlib import Path
from etrade_tasks.sharing.locks import FileLocks, RedisLocks
kind, place, lease = sys.argv[1:]
held = (FileLocks(Path(place)) if kind == "file" else RedisLocks(place, float(lease))).try_lock("key")
print("held" if held else "refused", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder() -> object:
    """Makes another process take the lock."""
    started = []

    def start(kind: str, place: str, lease: float = 0.0) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, kind, place, str(lease)], stdout=subprocess.PIPE, env=os.environ
        )
        started.append(process)
        assert b"held\n" == process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_killed_process_frees_its_file_lock(tmp_path: Path, holder: object) -> None:
    """If the holder of a file lock is killed, the lock is free at once."""
    process = holder("file", str(tmp_path))
    process.kill()
    process.wait()
    held = FileLocks(tmp_path).try_lock("key")
    assert held is not None
    held.release()


def test_redis_lock_is_kept_while_its_holder_lives(
    redis_url: str, holder: object, wait_until: Callable[..., None]
) -> None:
    """A holder keeps its lock for longer than the lease; once it is stopped, the lock is free."""
    import redis

    server, locks = redis.Redis.from_url(redis_url), RedisLocks(redis_url)
    server.flushall()
    process = holder("redis", redis_url, 1.5)
    left, tries = [0], []

    def extended_twice() -> bool:
        assert locks.try_lock("key") is None
        left.append(server.pttl(server.keys()[0]))
        return sum(later > earlier for earlier, later in pairwise(left)) >= 3  # the first is the lease itself

    def is_free() -> bool:
        tries.append(locks.try_lock("key"))
        return tries[-1] is not None

    wait_until(extended_twice, seconds=60)
    process.send_signal(signal.SIGSTOP)
    wait_until(is_free, seconds=60)
    tries[-1].release()


def test_redis_lock_is_extended_again_after_a_failure() -> None:
    """If Redis fails to extend a lock once, it is extended again later; a lost lock is not."""
    from redis.exceptions import LockError

    failures = [TimeoutError, None, LockError]

    class Lock:
        def reacquire(self) -> None:
            if failure := failures.pop(0):
                raise failure

    held = _Extended(Lock(), interval=0.01)
    held.thread.join(60)
    assert ([], False) == (failures, held.thread.is_alive())


def test_lost_redis_lock_is_released_quietly(redis_url: str) -> None:
    """If a holder has lost its lock, releasing it neither raises nor frees the next holder's."""
    import redis

    slow = RedisLocks(redis_url).try_lock("lost")
    redis.Redis.from_url(redis_url).flushall()
    following = RedisLocks(redis_url).try_lock("lost")
    slow.release()
    assert RedisLocks(redis_url).try_lock("lost") is None
    following.release()
