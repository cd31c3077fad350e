"""Work that may fail without stopping the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from etrade_tasks.logs import run_logger


@contextmanager
def best_effort(loss: str) -> Iterator[None]:
    """Turns an exception of the `with` block into a warning in the run's log.

    Args:
        loss: What failed, such as `The report could not be written`.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  # side work must not fail a run whose session is good
        run_logger().warning("%s (%s).", loss, type(error).__name__)
