"""What may fail without stopping what it accompanies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from etrade_tasks.logs import run_logger


@contextmanager
def best_effort(loss: str) -> Iterator[None]:
    """Turns an exception of the `with` block into a warning in the run's log.

    Args:
        loss: What could not be done if it fails, as in `The report could not be written`.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  # a session that is good must not fail for what goes with it
        run_logger().warning("%s (%s).", loss, type(error).__name__)
