"""What the browser tests share: a Prefect server with its UI, a place to run flows, and Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import State

from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials
from etrade_tasks.oauth.addresses import Environment

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
WINDOW = {"width": 1280, "height": 900}
PATIENCE = 45_000
"""How many milliseconds a page may take to show what is expected; a busy machine is slow."""

# No graphics card, no sandbox user, and no network beyond this machine.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

T = TypeVar("T")

expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True)
class Stage:
    """A Prefect server with its UI, the simulator as E*TRADE, and a thread that runs flows.

    Playwright's sync API keeps an event loop running in the test's thread, so Prefect would take every call
    there for a call from async code. Everything that uses Prefect therefore runs in a thread of its own. Only
    that thread knows this server: the other tests use another.

    Attributes:
        url: The server's address.
        etrade: The simulator, in real time like the server.
        thread: The thread that uses Prefect.
    """

    url: str
    etrade: Simulator
    thread: ThreadPoolExecutor

    def act(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a function that uses Prefect, and return its result."""

        def on_this_server() -> T:
            # Without a heartbeat a sync flow ends a second sooner.
            settings = {PREFECT_API_URL: f"{self.url}/api", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
            with temporary_settings(settings):
                # A process sends events and task runs through one worker, which stays with its first server.
                EventsWorker.drain_all()
                try:
                    return function(*args, **kwargs)
                finally:
                    EventsWorker.drain_all()

        return self.thread.submit(on_this_server).result()

    def ask(self, question: Callable[[SyncPrefectClient], T]) -> T:
        """Ask the server with a client, and return the answer."""

        def with_a_client() -> T:
            with get_client(sync_client=True) as client:
                return question(client)

        return self.act(with_a_client)

    def credentials(
        self, environment: Environment = "live", issued_at: datetime | None = None
    ) -> ETradeCredentials:
        """The credentials of a token issued at `issued_at`, or just now."""
        token = self.etrade.sign_in(environment, issued_at=issued_at)
        return ETradeCredentials.model_validate(self.etrade.credentials(token))

    def save(self, name: str, credentials: ETradeCredentials) -> ETradeCredentials:
        """Save the credentials as the block of that name, and return them."""
        self.act(credentials.save, name, overwrite=True)
        return credentials

    def run(self, flow: Callable[..., State[Any]], **parameters: Any) -> FlowRun:
        """Run a flow to its end, and return the run."""
        return self.run_of(self.act(flow, **parameters, return_state=True))

    def run_of(self, state: State[Any]) -> FlowRun:
        """The flow run of this state."""
        return self.ask(lambda client: client.read_flow_run(state.state_details.flow_run_id))

    def page_of(self, run: FlowRun) -> str:
        """The address of a run's page."""
        return f"{self.url}/v2/runs/flow-run/{run.id}"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path to Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if (path := next(filter(None, map(shutil.which, names)), None)) is None:
        pytest.skip("Chromium is not installed")
    return path


@pytest.fixture(scope="session")
def server_url(
    *,
    chromium: str,
    migrated: Path,
    tmp_path_factory: pytest.TempPathFactory,
    free_ports: Callable[[int], list[int]],
    run_process: Callable[..., AbstractContextManager[Path]],
    wait_for_server: Callable[[str], None],
) -> Iterator[str]:
    """The address of a server with an empty database; the test harness's own server has no UI."""
    folder, (port,) = tmp_path_factory.mktemp("server"), free_ports(1)
    shutil.copy(migrated, folder / "prefect.db")
    url = f"http://127.0.0.1:{port}"
    variables = {
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(folder),
        "PREFECT_UI_API_URL": f"{url}/api",  # else the page would ask port 4200
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    start = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    with run_process(*start, cwd=folder, **variables):
        wait_for_server(f"{url}/api")
        yield url


@pytest.fixture(scope="session")
def stage(server_url: str) -> Iterator[Stage]:
    """The stage that all browser tests share, on a new server."""
    with Simulator() as etrade, ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefect") as thread:
        yield Stage(server_url, etrade, thread)


@pytest.fixture(scope="session")
def signed_in(stage: Stage) -> ETradeCredentials:
    """The credentials in the block `etrade`, with a token just issued."""
    return stage.save("etrade", stage.credentials())


@pytest.fixture(scope="session")
def signed_out(stage: Stage) -> str:
    """The name of a block whose token expired days ago."""
    issued_at = datetime.now(UTC) - timedelta(days=2)
    stage.save("yesterday", stage.credentials(issued_at=issued_at))
    return "yesterday"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[BrowserContext]:
    """Chromium, closed after each module: while it is open, no other Prefect test can run in its thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=OPTIONS)
        context = browser.new_context(viewport=WINDOW, timezone_id="America/New_York")
        context.set_default_timeout(PATIENCE)
        yield context
        browser.close()


@pytest.fixture
def page(browser: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page; a screenshot of it is saved at the end of each test, passed or failed."""
    page = browser.new_page()
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{request.node.name.removeprefix('test_')}.png")
    page.close()
