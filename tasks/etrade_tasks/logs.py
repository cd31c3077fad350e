"""The logger of the run at hand."""

from __future__ import annotations

import logging

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from prefect.logging.loggers import LoggingAdapter


def run_logger() -> logging.Logger | LoggingAdapter:
    """The logger of the current task or flow run; the package's own where the code runs outside of any."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("etrade")
