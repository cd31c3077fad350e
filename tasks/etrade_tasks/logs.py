"""The log of the current run, and of code outside any run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from prefect.logging.loggers import LoggingAdapter
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW

from etrade_tasks.prefect_context import changed_setting


def run_logger() -> logging.Logger | LoggingAdapter:
    """The logger of the current task or flow run; the package's own logger outside any run."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("etrade")


@contextmanager
def unlogged_outside_flows() -> Iterator[None]:
    """Keep Prefect from warning that tasks outside any flow have no log on the server.

    Prefect 3 raises a `UserWarning` for each such task, and a test suite that treats warnings as errors would
    fail. If the user has set something else, that stays.
    """
    if FlowRunContext.get() is not None or PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW.value() != "warn":
        yield
        return
    with changed_setting("logging.to_api.when_missing_flow", "ignore"):
        yield
