"""A time limit for calls that cannot be interrupted."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, action: Callable[[], T]) -> T:
    """The action's result, if it comes in time. An action that hangs goes on in its thread.

    Raises:
        TimeoutError: It did not end in time.
        Exception: What the action raises.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []

    def act() -> None:
        try:
            outcome.append((action(), None))
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            outcome.append((None, error))

    # The context carries Prefect's settings and the clock. A daemon thread does not keep the process alive.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(act,), daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
