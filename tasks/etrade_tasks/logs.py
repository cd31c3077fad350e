"""The log of the run at hand, and of code that runs outside of any."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import FlowRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from prefect.logging.loggers import LoggingAdapter
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW

from etrade_tasks.prefect_settings import changed_setting


def run_logger() -> logging.Logger | LoggingAdapter:
    """The logger of the current task or flow run; the package's own where the code runs outside of any."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("etrade")


@contextmanager
def unlogged_outside_flows() -> Iterator[None]:
    """Keep Prefect from warning that tasks outside of any flow have no log on the server.

    Prefect 3 does so by a `UserWarning` for each such task, which a test suite whose warnings are errors
    fails on. What the user has set instead of that stays.
    """
    if FlowRunContext.get() is not None or PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW.value() != "warn":
        yield
        return
    with changed_setting("logging.to_api.when_missing_flow", "ignore"):
        yield
