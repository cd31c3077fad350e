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


@dataclass
class Part:
    """One part of the cluster.

    Attributes:
        name: Its name, and that of its log.
        command: The command that starts it.
        folder: Where it runs and writes its log.
        port: The port that it listens on, if it has one.
        environment: Its environment variables, if not this process's.
        user: The user who runs it, if not this process's.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    port: int | None = None
    environment: dict[str, str] | None = None
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
                env=(self.environment or os.environ) | {MACHINE: self._marker},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,
            )

    def wait(self, seconds: float = 120) -> None:
        """Wait until it listens; fail the test if it ends instead, or takes too long."""
        ends_at = time.monotonic() + seconds
        while self.port and not listens(self.port):
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
        ports: Five free ports.
    """

    def __init__(self, folder: Path, variables: dict[str, str], ports: list[int]) -> None:
        database, redis, front, *servers = ports
        self.folder = folder
        self.url = f"http://{HOST}:{front}/api"
        self.postgres_url = f"postgresql+asyncpg://prefect@{HOST}:{database}/prefect"
        self.redis_url = f"redis://{HOST}:{redis}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ETRADE_"))}
        ordinary = inherited | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        serving = ordinary | self._serving(redis)
        working = ordinary | self._working() | variables
        self.postgres = self._postgres(database)
        self.redis = redis_part(redis, folder)
        serve = (*PREFECT, "server", "start", "--no-services", "--host", HOST, "--port")
        self.servers = [
            Part(f"server-{number}", (*serve, str(port)), folder, port, serving)
            for number, port in enumerate(servers, 1)
        ]
        balance = (sys.executable, str(FRONT), *map(str, (front, *servers)))
        self.front = Part("front", balance, folder, front)
        self.services = Part("services", (sys.executable, "-c", SERVICES), folder, environment=serving)
        work = (*PREFECT, "worker", "start", "--pool", POOL, "--type", "process", "--name")
        names = [f"worker-{number}" for number in range(1, WORKERS + 1)]
        self.workers = [Part(name, (*work, name), folder, environment=working) for name in names]
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

    def _postgres(self, port: int) -> Part:
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
        part = Part("postgres", command, self.folder, port, user=user)
        part.start()
        part.wait()
        create = [debian("createdb"), "-h", HOST, "-p", str(port), "-U", "prefect", "prefect"]
        while subprocess.run(create, capture_output=True, check=False).returncode:
            assert part.process is not None
            assert part.process.poll() is None, part.log.read_text()
        return part

    def start(self) -> None:
        """Start everything but the workers, one after the other: two servers collide on a new database."""
        upgrade = [*PREFECT, "server", "database", "upgrade", "-y"]
        subprocess.run(upgrade, check=True, capture_output=True, env=self.servers[0].environment)
        for part in (self.redis, *self.servers, self.front, self.services):
            part.start()
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


def redis_part(port: int, folder: Path) -> Part:
    """A Redis that keeps its keys on disk through a restart, as it should in any cluster."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    kept = ("--dir", str(folder), "--appendonly", "yes", "--save", "")
    return Part("redis", (program, "--bind", HOST, "--port", str(port), *kept), folder, port)


@pytest.fixture
def redis(tmp_path: Path, free_ports: Callable[[int], list[int]]) -> Iterator[Part]:
    """A Redis server for this test alone."""
    part = redis_part(*free_ports(1), tmp_path)
    part.start()
    part.wait()
    yield part
    part.kill()


@pytest.fixture(scope="module")
def cluster_with(free_ports: Callable[[int], list[int]]) -> Iterator[Callable[..., Cluster]]:
    """Starts a cluster, with variables for its workers; everything stops after the module."""
    folder = Path(tempfile.mkdtemp(prefix="etrade-cluster-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def make(**variables: str) -> Cluster:
            cluster = Cluster(folder, variables, free_ports(5))
            stack.callback(cluster.stop)
            cluster.start()
            return cluster

        yield make
