"""The commands where no Prefect server answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prefect.exceptions import ObjectLimitReached
from prefect.settings import PREFECT_API_URL, temporary_settings

from etrade_flows.prefect_server import RETRIES, prefect_reached
from etrade_tasks.errors import PrefectUnavailable

Run = Callable[..., int]

every_command = pytest.mark.parametrize("command", ["login", "logout", "renew", "status"])


class Stranger(HTTPServer):
    """Answers every request alike, as no Prefect server does.

    Attributes:
        status: What it answers with.
        asked: How many requests came.
    """

    def __init__(self) -> None:
        self.status, self.asked = 200, 0
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                stranger.asked += 1
                page = b"<!doctype html><html><body>A page</body></html>"
                self.send_response(stranger.status)
                self.send_header("Content-Length", str(len(page)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(page)

            do_GET = do_POST = answer  # noqa: N815  # the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """What stands at PREFECT_API_URL instead of a Prefect server."""
    with Stranger() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_address[1]}"}):
            yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> Iterator[None]:
    """A PREFECT_API_URL where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: address}):
            yield


@every_command
def test_nobody_listens(command: str, nobody: None, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says so and what to do, without a traceback, and exits with 1."""
    assert 1 == run(command)
    shown = capsys.readouterr()
    assert ("", False) == (shown.out, "Traceback" in shown.err)
    assert "PrefectUnavailable: No Prefect server answers (ConnectError)." in shown.err
    advice = " ".join(shown.err.split())
    words = ("PREFECT_API_URL", "prefect server start", "etrade-session doctor")
    assert [] == [word for word in words if word not in advice]


@every_command
def test_page_in_the_place_of_the_api(
    command: str, stranger: Stranger, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that serves pages, as Prefect's does without /api, is told of as no Prefect server."""
    assert 1 == run(command)
    assert "PrefectUnavailable: No Prefect server answers (JSONDecodeError)." in capsys.readouterr().err


@every_command
@pytest.mark.parametrize("status", [401, 404, 500])
def test_error_in_the_place_of_an_answer(
    status: int, command: str, stranger: Stranger, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status of the answer is told."""
    stranger.status = status
    assert 1 == run(command)
    assert f"The Prefect server answers with status {status}." in capsys.readouterr().err


@pytest.mark.parametrize("command", ["renew", "status"])
def test_json_is_printed_all_the_same(
    command: str, nobody: None, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json, standard output is one object that says so."""
    assert 1 == run(command, "--json")
    said = json.loads(capsys.readouterr().out)
    assert ("failed", "PrefectUnavailable") == (said["state"], said["error"])


@every_command
def test_server_that_is_busy_is_not_waited_for(command: str, stranger: Stranger, run: Run) -> None:
    """A person is told after one more try, where Prefect's client would try for minutes."""
    stranger.status = 503
    assert 1 == run(command)
    assert 1 + RETRIES == stranger.asked


def test_server_that_goes_away_is_told_of(prefect_server: None) -> None:
    """What Prefect's client meets after the first answer is told in the same words."""
    with pytest.raises(PrefectUnavailable, match="ReadError"), prefect_reached():
        raise httpx.ReadError("fake")


def test_server_that_refuses_is_told_of(prefect_server: None) -> None:
    """What the server refuses later is told with the name of its refusal alone."""
    with pytest.raises(PrefectUnavailable, match="ObjectLimitReached"), prefect_reached():
        raise ObjectLimitReached(httpx.RequestError("fake"))


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_mistake_of_our_own_is_not_the_server_s(error: type[Exception], prefect_server: None) -> None:
    """An error that no client raised stays what it is, and sends nobody to PREFECT_API_URL."""
    with pytest.raises(error, match="fake"), prefect_reached():
        raise error("fake")
