"""What the tests of the guides and recipes share: a shell like their reader's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
        environment: Its environment variables.
    """

    folder: Path
    environment: dict[str, str]

    def run(self, code: str) -> str:
        """Run the code as a program of its own, and return what it prints."""
        (self.folder / "pipeline.py").write_text(code)
        return self.python("pipeline.py")

    def python(self, *arguments: str) -> str:
        """Run Python with these arguments, and return what it prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """Run Python with these arguments during the `with` block; its output is in the file `log`."""
        command = [sys.executable, *arguments]
        with (
            (self.folder / "log").open("w") as log,
            subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield
            finally:
                process.terminate()


@pytest.fixture
def shell(prefect_server: None, credentials: ETradeCredentials, tmp_path: Path) -> Shell:
    """A shell in which `serve` finds a run within a second."""
    credentials.save("etrade", overwrite=True)
    own = {"PREFECT_API_URL": get_current_settings().api.url, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    return Shell(tmp_path, os.environ | own)


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
