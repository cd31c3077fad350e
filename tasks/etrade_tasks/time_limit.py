"""Time limits for calls that cannot be interrupted, and for waits that must be."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, MutableMapping
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1
"""How often a waiting thread tries its lock."""


def acquired(lock: threading.Lock, left: Callable[[], float]) -> bool:
    """Whether the lock was acquired while there was time left.

    If a task times out, Prefect raises an exception in its thread. In a blocking `acquire` that would come
    only after the lock is taken, and nobody would ever release it. So this polls.

    Args:
        lock: The lock.
        left: Returns how many seconds are left.
    """
    while not lock.acquire(blocking=False):
        if left() <= 0:
            return False
        time.sleep(POLL_SECONDS)
    return True


def empty_in_forks(locks: MutableMapping[Any, Any]) -> None:
    """Empty `locks` in each process forked from this one, which has none of the threads that hold them."""
    if hasattr(os, "register_at_fork"):  # Windows has none
        os.register_at_fork(after_in_child=locks.clear)


def within(seconds: float, action: Callable[[], T]) -> T:
    """The action's result, if it comes in time. An action that hangs goes on in its thread.

    Raises:
        TimeoutError: It did not end in time.
        Exception: What the action raises.
    """
    outcome: Future[T] = Future()

    def act() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            outcome.set_exception(error)

    # The context carries Prefect's settings and the clock. A daemon thread does not keep the process alive.
    threading.Thread(target=contextvars.copy_context().run, args=(act,), daemon=True).start()
    return outcome.result(seconds)
