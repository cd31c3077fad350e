"""`make up` and `make down`, for real: everything starts on this machine, and nothing is left afterwards.

The tests of this file share one trial, in the order in which a person would do these things.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "deployments" / "local.py"
OF_THE_USER = {"ETRADE_ACCESS_TOKEN": "of-the-user", "PREFECT_API_KEY": "of-the-user"}
"""The user's own credentials, which no process of a trial may see."""
CALLS = "/_control/calls?path=/oauth/renew_access_token"

Ports = Callable[[int], list[int]]


class Stage:
    """A trial on free ports, which the tests start and stop with the command, as a person would."""

    def __init__(self, state: Path, ports: list[int]) -> None:
        self.state = state
        self.port, self.simulator_port = ports

    def command(self, action: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run `up` or `down`, with the stage's ports unless others are given."""
        chosen = {"port": self.port, "simulator-port": self.simulator_port, "state": self.state} | options
        arguments = [f"--{name}={value}" for name, value in chosen.items()]
        variables = os.environ | OF_THE_USER | {"SSL_CERT_DIR": "/etc/ssl/certs"}
        return subprocess.run(
            [sys.executable, str(PROGRAM), action, *arguments],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the trial's Prefect server."""
        answer = httpx.post(f"http://127.0.0.1:{self.port}/api{path}", json=body or {})
        return answer.raise_for_status().json()

    def simulated(self, path: str) -> Any:
        """Ask the trial's simulator."""
        return httpx.get(f"http://127.0.0.1:{self.simulator_port}{path}").raise_for_status().json()

    def pids(self) -> dict[str, str]:
        """The process ids that the trial has saved, by service."""
        return {path.stem: path.read_text() for path in self.state.glob("*.pid")}


@pytest.fixture(scope="module")
def stage(prefect_server: None, migrated: Path, tmp_path_factory: Any, free_ports: Ports) -> Iterator[Stage]:
    """A running trial, whose server found an empty database and did not need to create it."""
    stage = Stage(tmp_path_factory.mktemp("trial") / "state", free_ports(2))
    (stage.state / "prefect").mkdir(parents=True)
    shutil.copy(migrated, stage.state / "prefect" / "prefect.db")
    done = stage.command("up")
    try:
        assert 0 == done.returncode, done.stderr
        assert f"http://127.0.0.1:{stage.port}/v2" in done.stdout
        yield stage
    finally:
        stage.command("down")


def test_everything_is_deployed(stage: Stage, configured: dict[str, Any]) -> None:
    """The server has the deployments of prefect.yaml, and one more that runs every minute."""
    names = {each["name"] for each in configured["deployments"]}
    assert names | {"every-minute"} == {each["name"] for each in stage.api("/deployments/filter")}


def test_the_users_environment_but_no_credentials_reach_every_process(stage: Stage) -> None:
    """Simulator, server and worker keep the user's PATH, HOME and CA certificates, but get no credentials."""
    pids = stage.pids()
    assert {"simulator", "server", "worker"} == set(pids)
    wanted = {f"PATH={os.environ['PATH']}", f"HOME={os.environ['HOME']}", "SSL_CERT_DIR=/etc/ssl/certs"}
    for pid in pids.values():
        found = set(Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0"))
        assert wanted <= found
        assert [] == [name for name, value in OF_THE_USER.items() if f"{name}={value}" in found]


def test_a_second_up_keeps_what_runs(stage: Stage) -> None:
    """A second `up` succeeds and starts no process again."""
    before = stage.pids()
    done = stage.command("up")
    assert 0 == done.returncode, done.stderr
    assert before == stage.pids()


def test_other_ports_are_refused_while_it_runs(stage: Stage, free_ports: Ports) -> None:
    """`up` does not move a running trial to other ports, but says where it runs and what to do."""
    done = stage.command("up", port=free_ports(1)[0])
    assert 1 == done.returncode
    assert f"runs on ports {stage.port} and {stage.simulator_port}" in done.stderr
    assert "make down" in done.stderr


def test_a_taken_port_is_named(stage: Stage, tmp_path: Path) -> None:
    """If a port is taken, `up` names it, says what it is for, and starts nothing."""
    done = stage.command("up", state=tmp_path)
    assert 1 == done.returncode
    assert re.search(rf"Port {stage.simulator_port}, for the E\*TRADE simulator, cannot be used", done.stderr)
    assert "--simulator-port" in done.stderr
    assert [] == list(tmp_path.glob("*.pid"))


def test_scheduled_runs_appear_by_themselves(stage: Stage, wait_until: Callable[..., None]) -> None:
    """A scheduled run, which nobody started, renews the simulated token within two minutes."""

    def completed() -> list[dict[str, Any]]:
        chosen = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        return [run for run in stage.api("/flow_runs/filter", chosen) if run["auto_scheduled"]]

    wait_until(lambda: bool(completed()), seconds=120)
    assert {200} == {call["status"] for call in stage.simulated(CALLS)}


def test_down_ends_everything(
    stage: Stage, wait_until: Callable[..., None], processes_with: Callable[[str], list[Path]]
) -> None:
    """`down` ends every process of the trial, including those of a run, and frees both ports."""
    home = f"PREFECT_HOME={stage.state}/"
    assert processes_with(home)
    done = stage.command("down")
    assert 0 == done.returncode, done.stderr
    wait_until(lambda: [] == processes_with(home), seconds=60)
    assert {} == stage.pids()
    for port in (stage.port, stage.simulator_port):
        with socket.socket() as probe:
            assert 0 != probe.connect_ex(("127.0.0.1", port))


def test_down_with_nothing_up_is_fine(tmp_path: Path, free_ports: Ports) -> None:
    """If nothing runs, `down` says so and does no harm, even with an old pid file of another process."""
    (tmp_path / "server.pid").write_text(str(os.getpid()))
    done = Stage(tmp_path, free_ports(2)).command("down")
    assert (0, "Nothing of the trial was running.\n") == (done.returncode, done.stdout)


def test_state_stays_out_of_the_repository(stage: Stage) -> None:
    """The state's folder has a file that makes git ignore it."""
    assert "*\n" == (stage.state / ".gitignore").read_text()


# The program leaves its processes running on purpose, but Python warns about a child nobody waited for.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_service_that_does_not_start_is_reported_with_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_ports: Ports
) -> None:
    """If a service ends instead of answering, the error contains the end of its log."""
    monkeypatch.syspath_prepend(PROGRAM.parent)
    local = importlib.import_module("local")
    trial = local.Trial(tmp_path, *free_ports(2))
    broken = local.Service("server", "the Prefect server", ("-c", "raise SystemExit('no such luck')"))
    monkeypatch.setattr(local.Trial, "services", (broken,))
    local._ensure(trial, broken)
    with pytest.raises(local.TrialError, match=r"(?s)did not start.*no such luck"):
        local._wait(trial, broken, f"{trial.server_url}/api/health")
