"""What the tests share: a Prefect server of their own, and the simulator as E*TRADE."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import certifi
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is slow. CI must not fail by chance; on a developer's machine, every run draws new examples.
settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("unhurried")

# Prefect reads these when it is first imported; a test must never touch the user's own home or server.
_HOME = tempfile.mkdtemp(prefix="etrade-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "ETRADE_"))]:
    del os.environ[_name]
os.environ.update(
    PREFECT_HOME=_HOME,
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL="0.5",  # seconds until events are stored, not 5
    ETRADE_SIGN_IN_BY="00:00",  # the tests run at any hour and expect alerts at any hour
    DO_NOT_TRACK="1",
)

_make_context, _read_authorities = ssl.create_default_context, cache(ssl.create_default_context)


def _context_of_a_client(*args: Any, **kwargs: Any) -> ssl.SSLContext:
    """Let Prefect's and httpx's clients share one TLS context, since each would take 30 ms or more.

    No test here reaches a server with it. Every other caller gets its own context, and so does the package,
    which changes the one it gets.
    """
    asks = sys._getframe(1).f_globals.get("__name__", "")
    ours = asks == "prefect.client.orchestration" or kwargs.get("cafile") == certifi.where()
    ordinary = ours and not args and kwargs.keys() == {"cafile"}
    return (_read_authorities if ordinary else _make_context)(*args, **kwargs)


ssl.create_default_context = _context_of_a_client

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

    from etrade_simulator import AccessToken, Simulator
    from etrade_tasks import ETradeCredentials


@pytest.fixture(scope="session")
def migrated() -> Path:
    """The file that keeps an empty database of the installed Prefect, for all processes and later runs."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    return folder / f"prefect-{version('prefect')}.db"


@pytest.fixture(scope="session")
def harness(migrated: Path) -> Callable[[], AbstractContextManager[None]]:
    """Starts a real Prefect server with an empty database; all but the first copy it, in half the time."""
    return partial(_harness, migrated)


@contextmanager
def _harness(migrated: Path) -> Iterator[None]:
    from prefect.testing import utilities

    def folder() -> str:
        made = tempfile.mkdtemp()
        shutil.copy(migrated, Path(made) / "prefect-test.db")  # the name that Prefect's test harness uses
        return made

    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # While SQLite is busy, the server answers 503; Prefect's client would ask again after 2, 4, 8 s.
        patch.setattr("prefect.client.base.clamped_poisson_interval", lambda seconds, _: seconds / 10)
        with pytest.MonkeyPatch.context() as starting:
            # Else a busy server stands still for up to a minute now and then.
            starting.setenv("PYTHONPATH", str(ROOT / "deployments" / "collector"), prepend=os.pathsep)
            with FileLock(f"{migrated}.lock"):
                if first := not migrated.exists():
                    stack.enter_context(utilities.prefect_test_harness(server_startup_timeout=120))
                    _keep_empty_database(migrated)
            if not first:
                patch.setattr(utilities, "mkdtemp", folder)
                stack.enter_context(utilities.prefect_test_harness(server_startup_timeout=120))
        yield


def _keep_empty_database(migrated: Path) -> None:
    """Copy the new server's database, without what this package has put into it: that may change."""
    new = migrated.with_suffix(f".{os.getpid()}")
    with closing(sqlite3.connect(_database())) as made:
        made.execute("VACUUM INTO ?", [str(new)])
    with closing(sqlite3.connect(new)) as copy, copy:
        copy.execute("PRAGMA foreign_keys = ON")
        copy.execute("DELETE FROM block_type WHERE slug = 'etrade-credentials'")
    new.rename(migrated)


def _database() -> str:
    """The path of the database of the Prefect server in use."""
    from prefect.settings import get_current_settings

    return get_current_settings().server.database.connection_url.get_secret_value().partition("///")[2]


@pytest.fixture(scope="session")
def prefect_server(harness: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """A real Prefect server with an empty database, for the whole test run."""
    with harness(), _schemas_made_once():
        yield


@contextmanager
def _schemas_made_once() -> Iterator[None]:
    """Keeps the schema of a block, which Prefect makes anew for each field of a block that it saves."""
    from prefect.blocks.core import Block

    made = cache(Block.model_json_schema.__func__)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        kept = classmethod(lambda cls, *args, **kwargs: deepcopy(made(cls, *args, **kwargs)))
        patch.setattr(Block, "model_json_schema", kept)
        yield


@pytest.fixture(autouse=True)
def events_are_kept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keeps Prefect's events from being sent, because storing them is half of a server's work.

    In tests marked `events` they are sent; without them the server does not know about task runs.
    """
    if "prefect_server" not in request.fixturenames or request.node.get_closest_marker("events"):
        yield
        return
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker

    EventsWorker.set_client_override(NullEventsClient)
    yield
    EventsWorker.set_client_override(None)


@pytest.fixture
def quick_flows(prefect_server: None) -> Iterator[None]:
    """Switches off heartbeats, because a sync flow waits a second for its heartbeat thread to end."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the wait before the next attempt too short to notice."""
    monkeypatch.setenv("ETRADE_FIRST_BACKOFF", "0.001")


@pytest.fixture
def quick_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets Prefect's sync client give up a server that it cannot connect to at once, not after 1.5 s."""
    monkeypatch.setattr("httpcore._sync.connection.RETRIES_BACKOFF_FACTOR", 0.0)


@pytest.fixture
def noon() -> datetime:
    """Midday on an ordinary Eastern day, far from every limit."""
    from etrade_tasks.session import EASTERN

    return datetime(2027, 6, 15, 12, tzinfo=EASTERN)


@pytest.fixture
def simulator(noon: datetime, request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """E*TRADE at midday, with this package on the same clock; on real time in tests marked `real_time`."""
    from etrade_simulator import Simulator, SimulatorClock
    from etrade_tasks.clock import use_clock

    if request.node.get_closest_marker("real_time"):
        with Simulator() as running:
            yield running
    else:
        with Simulator(clock=SimulatorClock(noon)) as running, use_clock(running.now):
            yield running


SLOW = frozenset({"browser", "cluster", "deployments", "promise", "secrets"})
"""The folders whose tests start programs, and take the longest."""
REAL_TIME = frozenset({"cluster", "deployments", "docs"})
"""The folders whose tests start programs that ask the simulator."""
EVENTS = frozenset({"browser", "deployments", "news", "secrets"})
"""The folders whose tests look at events or task runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test` leaves out, and run the longest tests first, so that all processes end together.

    It leaves out the tests that need a Prefect server or start programs, unless they are marked `essential`,
    as one test of each capability is.
    """
    for item in items:
        slow = not SLOW.isdisjoint(item.path.parts) or item.get_closest_marker("starts_programs")
        if (slow or "prefect_server" in item.fixturenames) and not item.get_closest_marker("essential"):  # type: ignore[attr-defined]
            item.add_marker("thorough")
        if not REAL_TIME.isdisjoint(item.path.parts):
            item.add_marker("real_time")
        if not EVENTS.isdisjoint(item.path.parts) or "database" in item.fixturenames:  # type: ignore[attr-defined]
            item.add_marker("events")
    items.sort(key=lambda item: (SLOW.isdisjoint(item.path.parts), "promise" not in item.path.parts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where every test must run."""
    report = yield
    if report.skipped and os.environ.get("REQUIRE_ALL_TESTS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and here every test must run: {report.longrepr}"
    return report


CredentialsFor = Callable[..., "ETradeCredentials"]


@pytest.fixture
def credentials_for(simulator: Simulator) -> CredentialsFor:
    """Makes the credentials of a token that the simulator issued."""

    def make(token: AccessToken, **changes: object) -> ETradeCredentials:
        from etrade_tasks import ETradeCredentials

        return ETradeCredentials.model_validate(simulator.credentials(token) | changes)

    return make


@pytest.fixture
def credentials(simulator: Simulator, credentials_for: CredentialsFor) -> ETradeCredentials:
    """The credentials of a token just issued."""
    return credentials_for(simulator.sign_in("live"))


@pytest.fixture(scope="session")
def registered() -> Callable[[str], tuple[UUID, UUID]]:
    """Registers the credentials block with a server once; returns the ids of its type and schema."""

    @cache
    def register(server: str) -> tuple[UUID, UUID]:
        from etrade_tasks import ETradeCredentials

        ETradeCredentials.register_type_and_schema(_sync=True)
        return ETradeCredentials._block_type_id, ETradeCredentials._block_schema_id

    return register


@pytest.fixture
def post_block(prefect_server: None, registered: Any) -> Callable[..., UUID]:
    """Posts credentials to the server as a new block; returns its id.

    `save` would register the block's type each time.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import BlockDocumentCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.settings import get_current_settings

    def create(name: str, credentials: ETradeCredentials, **changes: object) -> UUID:
        kind, schema = registered(get_current_settings().api.url)
        data = credentials.model_dump(
            mode="json", context={"include_secrets": True}, exclude={"block_type_slug"}
        )
        document = BlockDocumentCreate(
            name=name, data=data | changes, block_type_id=kind, block_schema_id=schema
        )
        with get_client(sync_client=True) as client:
            try:
                return client.create_block_document(document).id
            except ObjectAlreadyExists:  # the client has sent it again, because the answer was lost
                return client.read_block_document_by_name(name, credentials.get_block_type_slug()).id

    return create


@pytest.fixture
def block(credentials: ETradeCredentials, post_block: Callable[..., UUID], tmp_path: Path) -> str:
    """The name of a saved credentials block whose token was just issued.

    This also asks Prefect where results are kept: on a busy machine that can take longer than a renewal
    waits, and the renewal would then keep no record.
    """
    from etrade_tasks.sharing.record import open_storage

    name = f"test-{tmp_path.name.replace('_', '-')}".lower()[:60]
    credentials._block_document_id = post_block(name, credentials)
    credentials._block_document_name, credentials._is_anonymous = name, False
    open_storage()
    return name


@pytest.fixture
def signed_out(block: str, credentials: ETradeCredentials) -> str:
    """The name of a block that nobody is signed in to."""
    from etrade_flows.person.login import store, without_token

    store(block, without_token(credentials))
    return block


@pytest.fixture
def empty_memory() -> Iterator[None]:
    """Makes this process forget every session, before the test and after it."""
    from etrade_flows.access.memory import forget_sessions

    forget_sessions()
    yield
    forget_sessions()


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Finds this many loopback ports that nothing listens on."""
    return _free_ports


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis on a free loopback port."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    (port,) = _free_ports(1)
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        _wait_until(lambda: _answers(port), seconds=20)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def configured() -> dict[str, Any]:
    """The content of `prefect.yaml`."""
    return YAML(typ="safe").load(ROOT / "prefect.yaml")


@pytest.fixture(scope="session")
def scheduled(configured: dict[str, Any]) -> Callable[[str, datetime, datetime], list[datetime]]:
    """Computes when the server runs a deployment of `prefect.yaml`, from `start` until just before `end`."""
    from prefect.server.schemas.schedules import CronSchedule

    async def dates(schedule: CronSchedule, start: datetime, end: datetime) -> list[datetime]:
        found: list[datetime] = []
        # The server returns at most a thousand dates.
        while some := await schedule.get_dates(n=1000, start=start, end=end):
            found += [datetime.fromtimestamp(run.timestamp(), UTC) for run in some if run < end]
            start = some[-1] + timedelta(minutes=1)
        return found

    def runs(deployment: str, start: datetime, end: datetime) -> list[datetime]:
        (found,) = (each for each in configured["deployments"] if each["name"] == deployment)
        fields = CronSchedule.model_fields
        crons = [CronSchedule(**{k: each[k] for k in each.keys() & fields}) for each in found["schedules"]]
        return sorted({run for cron in crons for run in asyncio.run(dates(cron, start, end))})

    return runs


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the test's server."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def run_now(client: SyncPrefectClient) -> Callable[..., UUID]:
    """Schedules a run of a deployment for now, as its schedule would, and returns the run's id."""
    from prefect.states import Scheduled

    def schedule(name: str, **parameters: object) -> UUID:
        deployment = client.read_deployment_by_name(name).id
        return client.create_flow_run_from_deployment(deployment, parameters=parameters, state=Scheduled()).id

    return schedule


@pytest.fixture
def end_state(client: SyncPrefectClient) -> Callable[[UUID], State[Any]]:
    """Waits until a run ends, and returns its last state."""

    def state(run: UUID) -> State[Any]:
        return client.read_flow_run(run).state

    def wait(run: UUID) -> State[Any]:
        # On a busy machine, starting Python twice takes most of the time.
        _wait_until(lambda: state(run).is_final(), seconds=180)
        return state(run)

    return wait


@pytest.fixture(scope="session")
def database(prefect_server: None) -> Callable[[], str]:
    """Dumps every table of the server's database as text."""

    def dump() -> str:
        with closing(sqlite3.connect(_database())) as connection:
            return "\n".join(connection.iterdump())

    return dump


@pytest.fixture(scope="session")
def files_at_rest() -> Callable[[], dict[str, bytes]]:
    """Returns the files in the result storage and in the Prefect home, without the database."""
    from prefect.settings import get_current_settings

    def read() -> dict[str, bytes]:
        settings = get_current_settings()
        places = [settings.home, Path(settings.results.local_storage_path)]
        files = {path for place in places for path in place.rglob("*") if path.is_file()}
        return {str(path): path.read_bytes() for path in files if ".db" not in path.name}

    return read


class Person:
    """A person who follows the artifact to the waiting run, opens the form's link and resumes the run.

    Attributes:
        seen: The address of each form's link.
        entered: Each verifier that was entered.
        forms: The text of each form.
        before_answering: Called when a form is open, before the person reads it.
        before_resuming: Called after the visit to E*TRADE's page, before the run is resumed.
    """

    def __init__(self, simulator: Simulator, block: str) -> None:
        self.seen: list[str] = []
        self.entered: list[str] = []
        self.forms: list[str] = []
        self.before_answering: Callable[[], object] = lambda: None
        self.before_resuming: Callable[[], object] = lambda: None
        self._simulator, self._block = simulator, block
        self._hands = ThreadPoolExecutor(max_workers=1)
        self._acts: list[Future[None]] = []

    def answers(self, spoil: Callable[[str], str] = lambda verifier: verifier) -> None:
        """Answer the next pause, with the verifier or what `spoil` makes of it."""
        self._acts.append(self._hands.submit(self._answer, spoil))

    def _answer(self, spoil: Callable[[str], str]) -> None:
        from prefect.artifacts import Artifact
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.responses import SetStateStatus

        _wait_until(lambda: self.waits() is not None, seconds=60)
        self.before_answering()
        run_id, form = self.waits()
        assert str(run_id) in Artifact.get(f"etrade-sign-in-{self._block}").data
        address = re.search(r"\]\((.*?)\)", form)[1]
        verifier = spoil(self._simulator.approve(parse_qs(urlsplit(address).query)["token"][0]))
        self.seen.append(address)
        self.entered.append(verifier)
        self.forms.append(form)
        self.before_resuming()
        with get_client(sync_client=True) as client:
            result = client.resume_flow_run(run_id, run_input={"verifier": verifier})
        assert SetStateStatus.ACCEPT == result.status

    def waits(self) -> tuple[UUID, str] | None:
        """The run that waits and the text of its form; None if no run waits."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter

        wanted = {"name": {"any_": [f"sign in {self._block}"]}, "state": {"type": {"any_": ["PAUSED"]}}}
        with get_client(sync_client=True) as client:
            for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted)):
                for found in client.filter_flow_run_input(run.id, "paused-", 10, set()):
                    if found.key.endswith("-description"):
                        return run.id, found.value
        return None

    def leave(self) -> None:
        """Wait until every answer is given."""
        self._hands.shutdown()
        for act in self._acts:
            act.result()


@pytest.fixture(scope="session")
def person_for(prefect_server: None) -> type[Person]:
    """Makes a person who signs in to the block of this name."""
    return Person


@pytest.fixture
def person(
    simulator: Simulator, block: str, person_for: type[Person], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    """A person who answers a waiting sign-in through the API, as the Prefect UI does it."""
    monkeypatch.setattr("etrade_flows.person.form.POLL_SECONDS", 0.05)
    someone = person_for(simulator, block)
    yield someone
    someone.leave()


class Inbox:
    """A webhook on the loopback interface that keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[dict[str, str]] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                inbox.received.append(json.loads(self.rfile.read(size)))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")  # as Slack answers

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def about(self, credentials: str) -> list[str]:
        """The subjects of the messages about these credentials, in order of arrival."""
        return [sent["subject"] for sent in self.received if f"Credentials: {credentials} " in sent["body"]]

    def body(self, credentials: str) -> str:
        """The text of the first message about these credentials."""
        return next(sent["body"] for sent in self.received if f"Credentials: {credentials} " in sent["body"])


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    """A webhook that notifications can go to."""
    box = Inbox()
    thread = threading.Thread(target=box.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield box
    box.server.shutdown()
    box.server.server_close()
    thread.join()


@pytest.fixture
def run_by_schedule(prefect_server: None) -> Callable[..., State[Any]]:
    """Runs a flow as a schedule of its only deployment would; returns the run's final state."""

    def run(
        what: Flow[..., Any], credentials: str, every: timedelta = timedelta(hours=1), **parameters: object
    ) -> State[Any]:
        from prefect.flow_engine import run_flow

        due = _scheduled_run(what, {"credentials": credentials, **parameters}, every)
        ended = run_flow(what, flow_run=due, parameters=due.parameters, return_type="state")
        return asyncio.run(ended) if inspect.isawaitable(ended) else ended

    return run


def _scheduled_run(what: Flow[..., Any], parameters: dict[str, Any], every: timedelta) -> FlowRun:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.schedules import IntervalSchedule
    from prefect.states import Scheduled

    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(
            client.create_flow(what),
            name="hourly",
            parameters=parameters,
            schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=every))],
        )
        client._client.post(f"/deployments/{deployment}/schedule", json={"min_runs": 5})
        ours = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(ours))
        run = next(run for run in runs if run.parameters == parameters)
        client.set_flow_run_state(run.id, Scheduled(scheduled_time=datetime.now(UTC)), force=True)
        return client.read_flow_run(run.id)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Runs Python with these arguments in a process of its own; returns what it prints.

    A variable that is empty is not set there.
    """

    def run(*arguments: object, cwd: Path | None = None, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=_without_empty(os.environ | variables),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def run_process(prefect_server: None) -> Callable[..., AbstractContextManager[Path]]:
    """Runs Python in a process of its own in this folder during a `with` block, and returns its log.

    It uses the test's server, and looks for runs every second. A variable that is empty is not set there.
    """

    @contextmanager
    def running(*arguments: str, cwd: Path, **variables: str) -> Iterator[Path]:
        from prefect.settings import get_current_settings

        own = {"PREFECT_API_URL": get_current_settings().api.url}
        own |= dict.fromkeys(("PREFECT_WORKER_QUERY_SECONDS", "PREFECT_RUNNER_POLL_FREQUENCY"), "1")
        environment = _without_empty(os.environ | own | variables)
        command, log = [sys.executable, *arguments], cwd / "log"
        # A child process inherits an ignored SIGINT, but a worker stops on no other signal.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        with log.open("w") as output:
            process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=output)
        signal.signal(signal.SIGINT, before)
        try:
            yield log
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=60)
            finally:
                process.kill()
                process.wait()

    return running


def _without_empty(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}


@pytest.fixture(scope="session")
def wait_for_server() -> Callable[[str], None]:
    """Waits until a Prefect server answers at this address of its API."""
    import httpx

    def answers(api: str) -> bool:
        try:
            return httpx.get(f"{api}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False

    return lambda api: _wait_until(lambda: answers(api), seconds=120)


@pytest.fixture(scope="session")
def processes_with() -> Callable[[str], list[Path]]:
    """Finds the processes whose environment contains this text."""

    def find(text: str) -> list[Path]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if text.encode() in (process / "environ").read_bytes():
                    found.append(process)
        return found

    return find


EMPTY_DATABASE = """
import shutil, tempfile
from prefect.testing import utilities

def folder():
    made = tempfile.mkdtemp()
    shutil.copy({migrated!r}, made + "/prefect-test.db")
    return made

utilities.mkdtemp = folder
"""


@pytest.fixture
def users_conftest(migrated: Path, tmp_path: Path) -> None:
    """Gives Prefect's harness in a user's test run an empty database, which it would take long to create."""
    (tmp_path / "conftest.py").write_text(EMPTY_DATABASE.format(migrated=str(migrated)))


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Waits until a condition holds; fails the test if that takes longer than this many seconds."""
    return _wait_until


def _wait_until(holds: Callable[[], bool], seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends_at, f"still not so after {seconds} s"
        time.sleep(0.05)
