#!/usr/bin/env python
"""Runs everything on this machine for a trial: `python deployments/local.py up`, and `down`.

`up` starts a Prefect server, a worker and the E*TRADE simulator on the loopback interface, signs in at the
simulator, and deploys `prefect.yaml` and, from `local.yaml`, a run every minute. A second `up` keeps what is
running and signs in again. `down` ends everything.

All state is in one folder: logs, pid files, the Prefect home. It does not read the user's own Prefect
profile, or the `PREFECT_*` and `ETRADE_*` variables, so a trial cannot reach an account by mistake.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
BLOCK = "etrade"
POOL = "etrade"

START_SECONDS = 120
"""How long a service may take to answer; a cold start on a small machine takes half a minute."""
STOP_SECONDS = 15
"""How long a service may take to end by itself before it is killed."""


class TrialError(Exception):
    """The trial cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Service:
    """One of the trial's processes.

    Attributes:
        name: The name of its files.
        title: Its name in messages.
        arguments: Python's arguments.
        port: Its port, if it has one.
        option: The option of this program that chooses the port.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    port: int | None = None
    option: str = ""


@dataclass(frozen=True)
class Trial:
    """One trial: its folder and its ports."""

    state: Path
    port: int
    simulator_port: int

    @property
    def server_url(self) -> str:
        """The Prefect server's address."""
        return f"http://{HOST}:{self.port}"

    @property
    def ui_url(self) -> str:
        """The address of the UI; the server's root has the previous one."""
        return f"{self.server_url}/v2"

    @property
    def simulator_url(self) -> str:
        """The simulated E*TRADE's address."""
        return f"http://{HOST}:{self.simulator_port}"

    @property
    def services(self) -> tuple[Service, ...]:
        """The processes, in the order in which they are started."""
        port = str(self.simulator_port)
        etrade = ("-m", "etrade_flows.cli.app", "simulator", "--port", port, "--control")
        server = ("-m", "prefect", "server", "start", "--host", HOST, "--port", str(self.port))
        worker = ("-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "trial")
        return (
            Service("simulator", "the E*TRADE simulator", etrade, self.simulator_port, "--simulator-port"),
            Service("server", "the Prefect server", server, self.port, "--port"),
            Service("worker", "the Prefect worker", worker),
        )

    def environment(self) -> dict[str, str]:
        """The variables of every process of the trial."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ETRADE_"))}
        return inherited | {
            "PREFECT_HOME": str(self.state / "prefect"),
            "PREFECT_API_URL": f"{self.server_url}/api",
            "PREFECT_UI_URL": self.ui_url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def pid_file(self, service: Service) -> Path:
        """The file that holds the process's id. The process keeps it locked as long as it lives."""
        return self.state / f"{service.name}.pid"

    def log(self, service: Service) -> Path:
        """The file with the process's output."""
        return self.state / f"{service.name}.log"


def up(trial: Trial) -> None:
    """Start what is not running, sign in, deploy, and say where to look.

    Raises:
        TrialError: A port is taken, or a step failed. What this call has started is then ended.
    """
    missing = [service for service in trial.services if not is_running(trial.pid_file(service))]
    _require_same_ports(trial, fresh=len(missing) == len(trial.services))
    for service in missing:
        _require_free_port(service)
    try:
        issued_at = _bring_up(trial)
    except BaseException:
        stop(trial, missing)
        raise
    _say(_welcome(trial, issued_at))


def down(trial: Trial) -> None:
    """End every process of the trial. The state stays, for you to look at and for the next `up`."""
    ended = stop(trial, trial.services)
    _say(f"Ended: {', '.join(ended)}." if ended else "Nothing of the trial was running.")


def _bring_up(trial: Trial) -> datetime:
    """Start everything, and return when the token was issued."""
    simulator, server, worker = trial.services
    # A child inherits an ignored SIGINT (as with a shell's `&`), and the worker ends on no other signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _ensure(trial, simulator)
    _ensure(trial, server)
    _wait(trial, simulator, f"{trial.simulator_url}/_control/clock")
    token = httpx.post(f"{trial.simulator_url}/_control/sign-in", json={}).raise_for_status().json()
    _wait(trial, server, f"{trial.server_url}/api/health")
    save_credentials(trial, token)
    run_prefect(trial, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    for file in ("prefect.yaml", "deployments/local.yaml"):
        run_prefect(trial, "--no-prompt", "deploy", "--all", "--prefect-file", file)
    # Last: runs that came due since an earlier `down` would all start at once, but deploying removes them.
    _ensure(trial, worker)
    return datetime.fromisoformat(token["issued_at"])


def stop(trial: Trial, services: Sequence[Service]) -> list[str]:
    """End these processes, the last one first, and return the names of those that were running."""
    return [service.title for service in reversed(services) if _stop(trial.pid_file(service))]


def is_running(pid_file: Path) -> bool:
    """Whether a process holds a pid file's lock. The number alone could belong to another process by now."""
    if not pid_file.exists():
        return False
    with pid_file.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def save_credentials(trial: Trial, token: dict[str, Any]) -> None:
    """Store the token of the simulator's answer to a sign-in in the block that the deployments name."""
    variables = trial.environment()  # first, because it copies this process's environment
    os.environ.clear()
    os.environ.update(variables)
    # Prefect reads its settings when it is first imported, so they must be set before.
    from prefect_etrade import ETradeCredentials  # noqa: PLC0415

    ETradeCredentials.model_validate(token["credentials"]).save(BLOCK, overwrite=True)


def run_prefect(trial: Trial, *arguments: str) -> None:
    """Run a Prefect command in this checkout, against the trial's server.

    Raises:
        TrialError: It failed; contains Prefect's output.
    """
    done = subprocess.run(  # noqa: S603  # none of it comes from outside
        [sys.executable, "-m", "prefect", *arguments],
        cwd=ROOT,
        env=trial.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise TrialError(f"`prefect {' '.join(arguments)}` failed:\n{said}")


def _require_same_ports(trial: Trial, *, fresh: bool) -> None:
    """Raise if a running trial has other ports; note the ports of a fresh one."""
    file, ports = trial.state / "ports.json", [trial.port, trial.simulator_port]
    if fresh:
        file.write_text(json.dumps(ports))
    elif (running := json.loads(file.read_text())) != ports:
        raise TrialError(f"The trial runs on ports {running[0]} and {running[1]}. Next: end it (make down).")


def _require_free_port(service: Service) -> None:
    if service.port is None:
        return
    with socket.socket() as probe:
        # As the servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, service.port))
        except OSError as error:
            raise TrialError(
                f"Port {service.port}, for {service.title}, cannot be used: {error.strerror}. "
                f"Next: end what uses it, or choose another with {service.option}."
            ) from error


def _ensure(trial: Trial, service: Service) -> None:
    """Start a process, if it is not running, that outlives this one and holds its pid file's lock."""
    if is_running(trial.pid_file(service)):
        return
    with trial.pid_file(service).open("w") as held, trial.log(service).open("w") as log:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen(  # noqa: S603  # none of it comes from outside
            [sys.executable, *service.arguments],
            cwd=ROOT,
            env=trial.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl+C in this terminal does not reach it
            pass_fds=[held.fileno()],
        )
        held.write(str(process.pid))


def _stop(pid_file: Path) -> bool:
    """End the process of a pid file, and return whether it was running."""
    if not is_running(pid_file):
        return False
    pid = int(pid_file.read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
        if not _ends(pid_file):
            os.killpg(pid, signal.SIGKILL)
            _ends(pid_file)
    pid_file.unlink(missing_ok=True)
    return True


def _ends(pid_file: Path) -> bool:
    """Whether the process of a pid file ends within `STOP_SECONDS`."""
    ends_at = time.monotonic() + STOP_SECONDS
    while (alive := is_running(pid_file)) and time.monotonic() < ends_at:
        time.sleep(0.1)
    return not alive


def _wait(trial: Trial, service: Service, url: str) -> None:
    """Wait until a service's address answers.

    Raises:
        TrialError: It ended, or took too long; contains the end of its log.
    """
    ends_at = time.monotonic() + START_SECONDS
    while is_running(trial.pid_file(service)) and time.monotonic() < ends_at:
        if _answers(url):
            return
        time.sleep(0.1)
    log = trial.log(service)
    last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise TrialError(f"{service.title.capitalize()} did not start. The end of {log}:\n{last}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def _welcome(trial: Trial, issued_at: datetime) -> str:
    from etrade_tasks.session import EASTERN, midnight_after  # noqa: PLC0415  # as in save_credentials

    midnight = midnight_after(issued_at)
    eastern = f"{midnight.astimezone(EASTERN):%Y-%m-%d %H:%M}"
    local = f"{midnight.astimezone():%H:%M %Z}"
    return f"""
  Prefect UI   {trial.ui_url}
               A run appears there every minute; the first takes up to a minute.
  E*TRADE      {trial.simulator_url} (a simulator; nothing here reaches E*TRADE)
  Signed in    until {eastern} US Eastern ({local}). The first run after that fails
               with SignInRequired and says what to do. `make up` signs in again.
               To sign in yourself, run `sign-in` in the UI, or
               PREFECT_API_URL={trial.server_url}/api .venv/bin/etrade-session login
  Logs         {trial.state}
  To stop      make down
"""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _options() -> argparse.Namespace:
    about = "A Prefect server, a worker and the simulator on this machine."
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("action", choices=["up", "down"], help="start or stop everything")
    parser.add_argument("--port", type=int, default=4200, help="the Prefect server's port")
    parser.add_argument("--simulator-port", type=int, default=8765, help="the simulator's port")
    parser.add_argument("--state", type=Path, default=ROOT / ".etrade-local", help="the folder for all state")
    return parser.parse_args()


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Keep other `up` and `down` commands of the same trial from running meanwhile."""
    state.mkdir(parents=True, exist_ok=True)
    (state / ".gitignore").write_text("*\n")
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrialError("Another `up` or `down` is running. Next: wait for it.") from None
        yield


def main() -> int:
    """Run the command; return 0 if it succeeded."""
    options = _options()
    trial = Trial(options.state.resolve(), options.port, options.simulator_port)
    action = {"up": up, "down": down}[options.action]
    try:
        with _alone(trial.state):
            action(trial)
    except TrialError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
