"""What the tests of the guides and recipes share: a shell like their reader's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from prefect_etrade import ETradeCredentials


@dataclass(frozen=True)
class Shell:
    """A shell in an empty folder, with a Prefect server and a block named `etrade`.

    Attributes:
        folder: Its working directory.
        python: Runs Python with these arguments, and returns what it prints.
        running: Runs Python with these arguments during a `with` block; its output is in the file `log`.
    """

    folder: Path
    python: Callable[..., str]
    running: Callable[..., AbstractContextManager[Path]]

    def run(self, code: str) -> str:
        """Run the code as a program of its own, and return what it prints."""
        (self.folder / "pipeline.py").write_text(code)
        return self.python("pipeline.py")


@pytest.fixture
def shell(credentials: ETradeCredentials, tmp_path: Path, run_python: Any, run_process: Any) -> Shell:
    """A shell in which `serve` finds a run within a second."""
    credentials.save("etrade", overwrite=True)
    server = get_current_settings().api.url
    python = partial(run_python, cwd=tmp_path, PREFECT_API_URL=server)
    return Shell(tmp_path, python, partial(run_process, cwd=tmp_path))


@pytest.fixture
def deployed(client: SyncPrefectClient, wait_until: Callable[..., None]) -> Callable[..., None]:
    """Waits until the server has deployments with these names."""

    def are_there(names: tuple[str, ...]) -> bool:
        with suppress(ObjectNotFound):
            return all(client.read_deployment_by_name(name) for name in names)
        return False

    return lambda *names: wait_until(lambda: are_there(names), seconds=90)


@pytest.fixture
def ends(
    deployed: Callable[..., None], run_now: Callable[..., UUID], end_state: Callable[[UUID], State]
) -> Callable[..., list[State]]:
    """Runs these deployments as soon as they exist, and returns how the runs ended."""

    def run(*names: str) -> list[State]:
        deployed(*names)
        return [end_state(run) for run in [run_now(name) for name in names]]

    return run
