"""What the doctor says of the Prefect server and of what it knows."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLOUD_API_URL,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    get_current_settings,
    temporary_settings,
)

from etrade_flows.health.deployment import check_deployment
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.health.place import Place, Server
from etrade_flows.health.server import (
    check_block_type,
    check_credentials,
    check_server,
    check_server_version,
    check_settings,
    compare,
)
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials

pytestmark = pytest.mark.usefixtures("prefect_server")

Serve = Callable[[int], AbstractContextManager[str]]


@pytest.fixture
def facts() -> Facts:
    """Facts of credentials that nobody has made."""
    return Facts("nobody")


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A web server that answers everything with one status; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_server_on_this_machine_answers(facts: Facts) -> None:
    """A server at a loopback address is called one of this machine."""
    finding = check_server(facts)
    assert (Health.OK, "The Prefect server on this machine answers.") == (finding.verdict, finding.says)


def test_server_elsewhere_is_not_named(facts: Facts) -> None:
    """A server whose host does not say that it is this machine is called another's, without the host."""
    port = get_current_settings().api.url.rpartition(":")[2]
    # The operating system takes this for 127.0.0.1; nobody else need do.
    with temporary_settings({PREFECT_API_URL: f"http://127.1:{port}"}):
        finding = check_server(facts)
    assert Health.OK is finding.verdict
    assert "The Prefect server on another machine answers." == finding.says


def test_unreachable_server_is_a_problem(facts: Facts) -> None:
    """Where nobody listens, the finding shows the error's class and the command that starts a server."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port()}/api"}):
        finding = check_server(facts)
    assert (Health.PROBLEM, True) == (finding.verdict, "ConnectError" in finding.says)
    assert "prefect server start" in finding.remedy


@pytest.mark.parametrize("status", [401, 403])
def test_server_that_refuses_asks_for_its_password(facts: Facts, status: int) -> None:
    """A server that lets nobody in is told from one that does not answer."""
    with answering(status) as url, temporary_settings({PREFECT_API_URL: f"{url}/api"}):
        finding = check_server(facts)
    assert Health.PROBLEM is finding.verdict
    assert f"does not let this machine in (status {status})" in finding.says
    assert "PREFECT_API_AUTH_STRING" in finding.remedy


def test_cloud_that_refuses_asks_for_a_login(facts: Facts) -> None:
    """Prefect Cloud is called by its name, and its account and workspace are not told."""
    with answering(401) as url:
        workspace = f"{url}/accounts/fake-account-id/workspaces/fake-workspace-id"
        with temporary_settings({PREFECT_CLOUD_API_URL: url, PREFECT_API_URL: workspace}):
            finding = check_server(facts)
    assert ("run `prefect cloud login`.", True) == (finding.remedy, "Prefect Cloud" in finding.says)
    assert "fake-" not in finding.says


def test_server_that_is_broken_is_a_problem(facts: Facts) -> None:
    """A server that answers with an error is a problem that shows the status."""
    retries = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: 5.0}
    with answering(422) as url, temporary_settings({PREFECT_API_URL: f"{url}/api", **retries}):
        finding = check_server(facts)
    assert (Health.PROBLEM, True) == (finding.verdict, "status 422" in finding.says)


def test_no_server_and_none_allowed_is_a_problem(facts: Facts) -> None:
    """Without an address and without a temporary server, nothing can be recorded."""
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}, restore_defaults={PREFECT_API_URL}):
        finding = check_server(facts)
    assert (Health.PROBLEM, True) == (finding.verdict, "prefect server start" in finding.remedy)


def test_temporary_server_is_a_warning(facts: Facts) -> None:
    """Each process with a server of its own works, and runs no deployment."""
    facts.server = Server(Place.TEMPORARY)
    assert Health.WARNING is check_server(facts).verdict
    with pytest.raises(SkipCheck, match="runs no deployment"):
        check_deployment(facts)


def test_server_of_this_version_is_ok(facts: Facts) -> None:
    """The server's own version is asked for and compared with the client's."""
    finding = check_server_version(facts)
    assert (Health.OK, True) == (finding.verdict, prefect.__version__ in finding.says)


@pytest.mark.parametrize(
    ("server", "verdict"),
    [
        ("3.8.8", Health.OK),
        ("3.10.0", Health.OK),
        ("3.8.7", Health.WARNING),
        ("2.20.1", Health.PROBLEM),
        ("4.0.0", Health.PROBLEM),
    ],
)
def test_versions_are_judged_as_prefect_does(server: str, verdict: Health) -> None:
    """An older server is a warning, one of another major version a problem, as for Prefect's own flows."""
    assert verdict is compare(server, "3.8.8").verdict


def test_block_type_is_known(facts: Facts, block: str) -> None:
    """Once a block was saved, its type and fields are registered."""
    assert Health.OK is check_block_type(facts).verdict


def test_unknown_block_type_is_registered_by_a_command(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not know the type is a problem with the command that teaches it."""
    monkeypatch.setattr(ETradeCredentials, "_block_type_slug", "etrade-never-registered")
    finding = check_block_type(facts)
    assert Health.PROBLEM is finding.verdict
    assert "prefect block register -m etrade_tasks" == finding.remedy


def test_fields_of_another_version_are_a_warning(
    facts: Facts, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that knows the type by other fields is told; saving a block would register them."""
    monkeypatch.setattr(ETradeCredentials, "_calculate_schema_checksum", lambda: "sha256:" + "0" * 64)
    finding = check_block_type(facts)
    assert Health.WARNING is finding.verdict
    assert "prefect block register -m etrade_tasks" == finding.remedy


def test_block_is_found(block: str) -> None:
    """A block of that name is told with its environment."""
    finding = check_credentials(Facts(block))
    assert (Health.OK, f"The block '{block}' holds a live key, well formed.") == (
        finding.verdict,
        finding.says,
    )


def test_environment_stands_in_for_a_block(
    simulator: Simulator, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no block, complete ETRADE_* variables are credentials too."""
    token = simulator.sign_in("sandbox")
    for name in ("consumer_key", "consumer_secret"):
        monkeypatch.setenv(f"ETRADE_{name.upper()}", getattr(token, name))
    monkeypatch.setenv("ETRADE_ACCESS_TOKEN", token.token)
    monkeypatch.setenv("ETRADE_ACCESS_TOKEN_SECRET", token.token_secret)
    monkeypatch.setenv("ETRADE_ENVIRONMENT", "sandbox")
    finding = check_credentials(facts)
    assert Health.OK is finding.verdict
    assert re.match(r"The ETRADE_\* variables.* sandbox key", finding.says)


def test_missing_credentials_are_made_by_a_command(facts: Facts) -> None:
    """Without a block and without variables, the command that makes the block is the remedy."""
    finding = check_credentials(facts)
    assert Health.PROBLEM is finding.verdict
    assert "etrade-session login --credentials nobody" in finding.remedy
    with pytest.raises(SkipCheck):
        _ = facts.credentials


def test_malformed_block_names_the_field(block: str) -> None:
    """A field that cannot be used is named, and its value is not."""
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(block, "etrade-credentials")
        client._client.patch(
            f"/block_documents/{document.id}", json={"data": {"api_url": "http://fake-canary.example"}}
        )
    finding = check_credentials(Facts(block))
    assert (Health.PROBLEM, True) == (finding.verdict, "api_url" in finding.says)
    assert "fake-canary" not in finding.says + finding.remedy


def test_settings_are_read(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set is told by the variables' names."""
    assert Health.OK is check_settings(facts).verdict
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "PT30M")
    finding = check_settings(Facts("nobody"))
    assert "Set here: ETRADE_REUSE_WINDOW." == finding.says


def test_malformed_setting_is_named(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that cannot be read is a problem, told by its name and not by its value."""
    monkeypatch.setenv("ETRADE_DEADLINE", "fake-canary")
    finding = check_settings(facts)
    assert Health.PROBLEM is finding.verdict
    assert "ETRADE_DEADLINE" in finding.says
    assert "fake-canary" not in finding.says
