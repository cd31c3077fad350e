"""A scaled-out Prefect on one machine: each part is a process that a test can kill."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

HOST = "127.0.0.1"
WORKERS = 4
POOL = "etrade"
MACHINE = "CLUSTER_MACHINE"
"""Marks the processes of one part, so that killing it kills all that it started, as with a machine."""

PREFECT = (sys.executable, "-m", "prefect")
SERVICES = """
import datetime, runpy, sys
from prefect_redis import ordering

ordering.PRECEDING_EVENT_LOOKBACK = datetime.timedelta(seconds=15)
sys.argv = ["prefect", "server", "services", "start"]
runpy.run_module("prefect", run_name="__main__")
"""
"""The background services, with one waiting time shortened as much as the test's hours.

Prefect holds back every event of a scheduled run for 15 minutes: it waits for an event that the run was
scheduled, which it never sends. Until then, no automation on the run's states acts.
"""
FRONT = Path(__file__).with_name("front.py")


def debian(program: str) -> str:
    """The path of a PostgreSQL program: in Debian's folder for the installed version, or on the `PATH`."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(program, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass
class Part:
    """One part of the cluster.

    Attributes:
        name: Its name, and that of its log.
        command: The command that starts it.
        answers: Returns whether it is up.
        environment: Its environment variables.
        folder: Where it runs and writes its log.
        user: The user who runs it, if not this process's.
    """

    name: str
    command: tuple[str, ...]
    answers: Callable[[], bool]
    environment: dict[str, str]
    folder: Path
    user: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """The file with all that it has printed."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it, without waiting for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment | {MACHINE: self._marker},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,
            )

    def wait(self, seconds: float = 120) -> None:
        """Wait until it answers; fail the test if it ends instead, or takes too long."""
        ends_at = time.monotonic() + seconds
        while not self.answers():
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < ends_at, f"{self.name} is not up:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it and all that it has started, with SIGKILL."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in self._started():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    @property
    def _marker(self) -> str:
        return f"{self.folder}/{self.name}"

    def _started(self) -> list[int]:
        """The processes with its mark: a flow run has a session of its own, which `killpg` does not reach."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MACHINE}={self._marker}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


class Cluster:
    """PostgreSQL, Redis, two API servers behind one address, separate background services, four workers.

    A client knows only one address, so a front stands before the API servers, as a load balancer would. If
    the workers were split between the servers, half of them would stop whenever a server stops.

    Args:
        folder: The folder that holds everything.
        variables: Variables for the workers, besides the cluster's own.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        database, redis, front, *servers = free_ports(5)
        self.folder = folder
        self.url = f"http://{HOST}:{front}/api"
        self.postgres_url = f"postgresql+asyncpg://prefect@{HOST}:{database}/prefect"
        self.redis_url = f"redis://{HOST}:{redis}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ETRADE_"))}
        ordinary = inherited | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        serving = ordinary | self._serving(redis)
        working = ordinary | self._working() | variables
        self.postgres = self._postgres(database, inherited)
        self.redis = self._redis(redis, inherited)
        self.servers = [self._server(n, port, serving) for n, port in enumerate(servers, 1)]
        self.front = self._part("front", (sys.executable, str(FRONT), *map(str, (front, *servers))), front)
        services = (sys.executable, "-c", SERVICES)
        self.services = Part("services", services, lambda: True, serving, folder)
        self.workers = [self._worker(n, working) for n in range(1, WORKERS + 1)]
        self.parts = [self.redis, *self.servers, self.front, self.services, *self.workers]

    def _serving(self, redis: int) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self.folder / "server"),
            "PREFECT_API_DATABASE_CONNECTION_URL": self.postgres_url,
            "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
            "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
            "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
            "PREFECT_REDIS_MESSAGING_HOST": HOST,
            "PREFECT_REDIS_MESSAGING_PORT": str(redis),
            "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_HOST": HOST,
            "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_PORT": str(redis),
        }

    def _working(self) -> dict[str, str]:
        return {
            "PREFECT_HOME": str(self.folder / "work"),  # the record is in a folder that all machines share
            "PREFECT_API_URL": self.url,
            "PREFECT_WORKER_QUERY_SECONDS": "5",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            # A server answers 500 while Redis or PostgreSQL is down, and Prefect's client would not retry.
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
            "ETRADE_LOCK_REDIS_URL": f"{self.redis_url}/1",
        }

    def _part(self, name: str, command: tuple[str, ...], port: int, **more: Any) -> Part:
        variables = more.pop("environment", dict(os.environ))
        return Part(name, command, lambda: listens(port), variables, self.folder, **more)

    def _redis(self, port: int, variables: dict[str, str]) -> Part:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        # Redis holds what Prefect has not handled yet, so it writes to disk, as it should in any cluster.
        kept = ("--dir", str(self.folder), "--appendonly", "yes", "--save", "")
        command = (program, "--bind", HOST, "--port", str(port), *kept)
        return self._part("redis", command, port, environment=variables)

    def _postgres(self, port: int, variables: dict[str, str]) -> Part:
        user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        data = self.folder / "database"
        data.mkdir()
        if user:
            self.folder.chmod(0o711)
            os.chown(data, pwd.getpwnam(user).pw_uid, -1)
        quick = ("--auth", "trust", "--username", "prefect", "--encoding", "UTF8", "--no-sync")
        subprocess.run(
            [debian("initdb"), "-D", data, *quick], check=True, capture_output=True, user=user, cwd=data
        )
        options = ("-h", HOST, "-p", str(port), "-c", "unix_socket_directories=", "-c", "fsync=off")
        command = (debian("postgres"), "-D", str(data), *options)
        part = Part("postgres", command, lambda: listens(port), variables, self.folder, user)
        part.start()
        part.wait()
        create = [debian("createdb"), "-h", HOST, "-p", str(port), "-U", "prefect", "prefect"]
        while subprocess.run(create, capture_output=True, check=False).returncode:
            assert part.process is not None
            assert part.process.poll() is None, part.log.read_text()
        return part

    def _server(self, number: int, port: int, variables: dict[str, str]) -> Part:
        start = (*PREFECT, "server", "start", "--no-services", "--host", HOST, "--port", str(port))
        up = f"http://{HOST}:{port}/api/health"
        return Part(f"server-{number}", start, lambda: healthy(up), variables, self.folder)

    def _worker(self, number: int, variables: dict[str, str]) -> Part:
        name = f"worker-{number}"
        start = (*PREFECT, "worker", "start", "--pool", POOL, "--type", "process", "--name", name)
        part = Part(name, start, lambda: True, variables, self.folder)
        part.answers = lambda: part.log.exists() and "started!" in part.log.read_text()
        return part

    def start(self) -> None:
        """Start everything but the workers, the first server alone: two collide on a new database."""
        upgrade = [*PREFECT, "server", "database", "upgrade", "-y"]
        subprocess.run(upgrade, check=True, capture_output=True, env=self.servers[0].environment)
        self.redis.start()
        self.redis.wait()
        first, second = self.servers
        first.start()
        first.wait()
        for part in (second, self.front, self.services):
            part.start()
        for part in (second, self.front):
            part.wait()

    def stop(self) -> None:
        """Stop everything."""
        for part in [*reversed(self.parts), self.postgres]:
            part.kill()

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """Post to the API, and return its answer."""
        return httpx.post(f"{self.url}{path}", json=body, timeout=30).raise_for_status().json()


def listens(port: int) -> bool:
    """Whether anything listens on that port."""
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def healthy(url: str) -> bool:
    """Whether a server reports that it is healthy."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def cluster_with() -> Iterator[Callable[..., Cluster]]:
    """Starts a cluster, with variables for its workers; everything stops after the module."""
    folder = Path(tempfile.mkdtemp(prefix="etrade-cluster-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def make(**variables: str) -> Cluster:
            cluster = Cluster(folder, variables)
            stack.callback(cluster.stop)
            cluster.start()
            return cluster

        yield make
