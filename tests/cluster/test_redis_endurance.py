"""The Redis lock, acquired many times, while its server restarts once.

`ACQUISITIONS=1000000 make endurance ARGS=tests/cluster/test_redis_endurance.py` runs more acquisitions.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_no_two_processes_ever_hold_one_lock(
    redis: Any, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """In 100,000 acquisitions by eight processes, no lock has two holders, though Redis is killed once."""
    folder = tmp_path / "witnesses"
    folder.mkdir()
    each = ACQUISITIONS // PROCESSES
    url = f"redis://127.0.0.1:{redis.port}"
    command = [sys.executable, "-c", WORKER, url, str(folder), str(each), str(TOKENS)]
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
