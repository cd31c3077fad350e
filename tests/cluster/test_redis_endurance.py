"""The Redis lock, acquired many times, while its server restarts once.

`ACQUISITIONS=1000000 make endurance ARGS=tests/cluster/test_redis_endurance.py` runs more acquisitions.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.endurance

ACQUISITIONS = int(os.environ.get("ACQUISITIONS", "100000"))
PROCESSES = 8
TOKENS = 16

# The holder creates a file that must not exist, and removes it: a proof that does not rely on Redis.
WORKER = """
import os, random, sys, time
from etrade_tasks.sharing.locks import RedisLocks

url, folder, wanted, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
locks, had, away = RedisLocks(url), 0, 0
progress = open(os.path.join(folder, f"progress-{os.getpid()}"), "w")
while had < wanted:
    token = f"token-{random.randrange(tokens)}"
    try:
        held = locks.try_lock(token)
    except Exception:
        away += 1
        time.sleep(0.01)
        continue
    if held is None:
        continue
    witness = os.path.join(folder, token)
    os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
    os.unlink(witness)
    held.release()
    had += 1
    if not had % 100:
        progress.write("." * 100)
        progress.flush()
print(had, away)
"""


class Redis:
    """A Redis server that keeps its keys through a restart.

    Attributes:
        url: Its address.
    """

    def __init__(self, program: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"
        self._command = [program, "--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", "no"]
        self.start()

    def start(self) -> None:
        """Start the server, always on the same port."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.wait()

    def answers(self) -> bool:
        """Whether the server accepts connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0


@pytest.fixture
def redis(tmp_path: Path, wait_until: Callable[..., None]) -> Iterator[Redis]:
    """A Redis server for this test alone."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    made = Redis(program, tmp_path)
    wait_until(made.answers, seconds=20)
    yield made
    made.kill()


def test_no_two_processes_ever_hold_one_lock(
    redis: Redis, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """In 100,000 acquisitions by eight processes, no lock has two holders, though Redis is killed once."""
    folder = tmp_path / "witnesses"
    folder.mkdir()
    each = ACQUISITIONS // PROCESSES
    command = [sys.executable, "-c", WORKER, redis.url, str(folder), str(each), str(TOKENS)]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]

    def are_half_done() -> bool:
        done = sum(path.stat().st_size for path in folder.glob("progress-*"))
        return done > ACQUISITIONS // 2 or any(worker.poll() is not None for worker in workers)

    try:
        wait_until(are_half_done, seconds=1200)
        redis.kill()
        redis.start()
        said = [worker.communicate(timeout=1200) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [""] * PROCESSES == [error for _, error in said]
    had, away = zip(*(map(int, answer.split()) for answer, _ in said), strict=True)
    assert each * PROCESSES == sum(had)
    assert sum(away) > 0  # Redis really was gone for a moment
