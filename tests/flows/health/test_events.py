"""What the doctor says about events, with and without a proxy that blocks websockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from etrade_flows.health import events
from etrade_flows.health.events import check_events
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health

from .expecting import expect

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def without_websockets() -> Iterator[str]:
    """A proxy before the Prefect server that lets everything but websockets pass; gives the API's address."""
    server = get_current_settings().api.url.removesuffix("/api")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if "Upgrade" in self.headers:
                status, content = 403, b""
            else:
                kind = {"Content-Type": "application/json"}
                answer = httpx.request(self.command, server + self.path, content=body, headers=kind)
                status, content = answer.status_code, answer.content
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_port}/api"
        proxy.shutdown()
        thread.join()


def test_event_that_arrives_is_ok() -> None:
    """If an event arrives on the server, the check is ok."""
    expect(check_events(Facts("nobody")), Health.OK)


def test_proxy_that_blocks_websockets_is_found(without_websockets: str) -> None:
    """If a proxy blocks websockets, the finding says what is lost and what to let through, but no address."""
    with temporary_settings({PREFECT_API_URL: without_websockets}):
        finding = check_events(Facts("nobody"))
    expect(finding, Health.WARNING, says="nobody would be alerted", remedy="pass websockets")
    assert "127.0.0.1" not in finding.says + finding.remedy


def test_event_that_the_server_does_not_show_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the server takes an event and never stores it, the finding differs from a blocked websocket's."""

    async def send_nothing(resource: str) -> None:
        """Act like a server whose services do not run."""

    monkeypatch.setattr(events, "_send", send_nothing)
    monkeypatch.setattr(events, "SECONDS", 1.0)
    expect(check_events(Facts("nobody")), Health.WARNING, remedy="services")
