"""A cluster on one machine: what a scaled-out Prefect is made of, each part a process that can be killed."""

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
"""Marks the processes of one part, so that a part dies with all that it has started, as a machine does."""

PREFECT = (sys.executable, "-m", "prefect")
SERVICES = """
import datetime, runpy, sys
from prefect_redis import ordering

ordering.PRECEDING_EVENT_LOOKBACK = datetime.timedelta(seconds=15)
sys.argv = ["prefect", "server", "services", "start"]
runpy.run_module("prefect", run_name="__main__")
"""
"""The background services, with one of their times as much shorter as the test's hours are.

Prefect holds back each event of a run that a schedule made, for 15 minutes: it waits for the event of
the run's scheduling, which it never sends. An automation on a run's states acts no sooner.
"""
FRONT = Path(__file__).with_name("front.py")


def debian(program: str) -> str:
    """Where PostgreSQL's program is: on the path, or in Debian's folder for the version installed."""
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
        name: What its log is called.
        command: What starts it.
        answers: Whether it is up, once it is started.
        environment: Its variables.
        folder: Where it runs, and logs.
        user: Who runs it, if not this process's user.
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
        """What it has printed."""
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
        """Wait until it answers; fails the test if it ends instead, or takes too long."""
        ends_at = time.monotonic() + seconds
        while not self.answers():
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < ends_at, f"{self.name} is not up:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.1)

    def kill(self) -> None:
        """End it and all that it has started, with SIGKILL."""
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
        """The processes that carry its mark; a flow run has a session of its own."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MACHINE}={self._marker}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


class Cluster:
    """PostgreSQL, Redis, two API servers behind one address, the services apart, and four workers.

    A client knows one address, so a front stands before the API servers, as a load balancer would: with the
    workers split over the two servers, each server would be what half of them cannot do without.

    Args:
        folder: Where everything is kept.
        variables: What the workers are given besides the cluster's own variables.
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
            "PREFECT_HOME": str(self.folder / "work"),  # a folder that the machines share keeps the record
            "PREFECT_API_URL": self.url,
            "PREFECT_WORKER_QUERY_SECONDS": "5",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            # A server answers so while Redis or PostgreSQL is away, and Prefect's client would not ask again.
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
        # What Prefect has not handled yet waits in Redis, so it is written down, as a cluster's should be.
        kept = ("--dir", str(self.folder), "--appendonly", "yes", "--save", "")
        command = (program, "--bind", HOST, "--port", str(port), *kept)
        return self._part("redis", command, port, environment=variables)

    def _postgres(self, port: int, variables: dict[str, str]) -> Part:
        user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to be root
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
        """Bring everything but the workers up, the first server alone: two collide on a new database."""
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
        """End everything."""
        for part in [*reversed(self.parts), self.postgres]:
            part.kill()

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """What the API answers."""
        return httpx.post(f"{self.url}{path}", json=body, timeout=30).raise_for_status().json()


def listens(port: int) -> bool:
    """Whether anything listens on that port."""
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def healthy(url: str) -> bool:
    """Whether a server says that it is well."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def cluster_with() -> Iterator[Callable[..., Cluster]]:
    """Brings a cluster up, with variables for its workers; everything ends with the test."""
    folder = Path(tempfile.mkdtemp(prefix="etrade-cluster-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def make(**variables: str) -> Cluster:
            cluster = Cluster(folder, variables)
            stack.callback(cluster.stop)
            cluster.start()
            return cluster

        yield make
