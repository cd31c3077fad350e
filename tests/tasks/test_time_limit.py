"""Waits of threads: they end with their thread, and leave no lock behind."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable

from etrade_tasks.time_limit import acquired


class Ended(Exception):
    """What Prefect raises in the thread of a task that has timed out."""


def test_thread_that_is_ended_in_its_wait_holds_no_lock(wait_until: Callable[..., None]) -> None:
    """If a thread is ended while it waits for a lock, the lock stays free for the next one."""
    lock, waiting, ended = threading.Lock(), threading.Event(), threading.Event()
    lock.acquire()

    def left() -> float:
        waiting.set()
        return 60.0

    def wait() -> None:
        try:
            acquired(lock, left)
        except Ended:
            ended.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert waiting.wait(30)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Ended))
    assert ended.wait(30)
    lock.release()
    assert acquired(lock, lambda: 0.0)


def test_forked_process_begins_without_the_locks_of_threads() -> None:
    """A process forked while a thread renews does not wait for that thread, which it does not have."""
    code = (
        "import os, sys\n"
        "from uuid import uuid4\n"
        "from etrade_flows.access import together\n"
        "from etrade_flows.runs import tags\n"
        "from etrade_tasks.sharing import turn\n"
        "turn._threads['any'].acquire()\n"
        "together._turns['any', False] = together._Turn()\n"
        "tags._turns[uuid4()] = held = __import__('threading').Lock()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(len(turn._threads) + len(together._turns) + len(tags._turns))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert 0 == subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode
