"""What the tests of the flows and of the command share."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from etrade_simulator import AccessToken, Simulator

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def console_handlers() -> Iterator[None]:
    """Undo the command's changes to the console's log handlers."""
    handlers = logging.getLogger().handlers
    filters = {id(handler): list(handler.filters) for handler in handlers}
    yield
    for handler in handlers:
        handler.filters[:] = filters.get(id(handler), handler.filters)


@pytest.fixture
def run() -> Run:
    """Runs the command `etrade-session` with these arguments; returns its exit code."""
    from etrade_flows.cli import app as cli

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return ended.value.code

    return run


@pytest.fixture
def save(block: str, credentials_for: Any, simulator: Simulator, post_block: Any) -> Callable[..., str]:
    """Saves a block whose name starts with the name of this test's block; returns its name."""

    def make(name: str, token: AccessToken | None = None, **changes: object) -> str:
        post_block(f"{block}-{name}", credentials_for(token or simulator.sign_in("live")), **changes)
        return f"{block}-{name}"

    return make


@pytest.fixture
def start_python(prefect_server: None) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python in a process of its own, which uses the test's server and is killed at the end."""
    from prefect.settings import get_current_settings

    started: list[subprocess.Popen[str]] = []
    pipe = subprocess.PIPE

    def start(*arguments: str, stdin: int = pipe, **variables: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PREFECT_API_URL": get_current_settings().api.url} | variables
        command = [sys.executable, *arguments]
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                stdin=stdin,
                stdout=pipe,
                stderr=pipe,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
