"""What the tests of the command share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def console_handlers() -> Iterator[None]:
    """Undo what the command does to the console's log lines."""
    handlers = logging.getLogger().handlers
    filters = {id(handler): list(handler.filters) for handler in handlers}
    yield
    for handler in handlers:
        handler.filters[:] = filters.get(id(handler), handler.filters)


@pytest.fixture
def run() -> Run:
    """Runs the command `etrade-session` with these arguments, and gives what it exits with."""
    from etrade_flows.cli import app as cli

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return ended.value.code

    return run
