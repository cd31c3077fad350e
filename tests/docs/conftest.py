"""What the tests of the guides and recipes share: a shell like their reader's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Scheduled

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
def deployed(wait_until: Callable[..., None]) -> Callable[..., None]:
    """Waits until the server has deployments with these names."""

    def is_there(name: str) -> bool:
        with get_client(sync_client=True) as client:
            try:
                client.read_deployment_by_name(name)
            except ObjectNotFound:
                return False
        return True

    return lambda *names: wait_until(lambda: all(map(is_there, names)), seconds=90)


@pytest.fixture
def ends(deployed: Callable[..., None], wait_until: Callable[..., None]) -> Callable[..., list[State]]:
    """Runs these deployments as soon as they exist, and returns how the runs ended."""

    def run(*names: str) -> list[State]:
        deployed(*names)
        with get_client(sync_client=True) as client:
            found = [client.read_deployment_by_name(name).id for name in names]
            runs = [client.create_flow_run_from_deployment(each, state=Scheduled()).id for each in found]
            wait_until(lambda: all(client.read_flow_run(run).state.is_final() for run in runs), seconds=180)
            return [client.read_flow_run(run).state for run in runs]

    return run
