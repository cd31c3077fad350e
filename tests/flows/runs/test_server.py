"""The commands when no Prefect server answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NoReturn

import httpx
import pytest
from prefect import task
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectLimitReached, ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)

from etrade_flows.person.login import in_rounds, stored_credentials
from etrade_flows.runs.server import RETRIES, prefect_reached, require_result_storage, storage_told
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials, SignInRequired
from etrade_tasks.errors import PrefectUnavailable

pytestmark = pytest.mark.starts_programs

Run = Callable[..., int]


def refusal(status: int) -> PrefectHTTPStatusError:
    """What Prefect's client raises for an answer with this status."""
    request = httpx.Request("GET", "http://127.0.0.1/api")
    return PrefectHTTPStatusError("fake", request=request, response=httpx.Response(status, request=request))


def fail_with(error: Exception, cause: Exception | None = None) -> NoReturn:
    """Raise this error, as some of Prefect's functions raise one of Python's for one of Prefect's."""
    raise error from cause


@pytest.fixture
def fails(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail in a few lines without a traceback; returns those lines as one."""

    def run_it(*arguments: str) -> str:
        assert 1 == run(*arguments)
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert len(said.splitlines()) <= LINES
        return " ".join(said.split())

    return run_it


@task
def any_task() -> None:
    """Does nothing; Prefect does not start it without its result storage."""


LINES = 8
"""How many lines of a terminal an error may take."""


class Stranger(HTTPServer):
    """Gives every request the same page, unlike a Prefect server.

    Attributes:
        status: The status of its answers.
        asked: How many requests arrived.
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
    """A web server at PREFECT_API_URL that is no Prefect server."""
    with Stranger() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_address[1]}"}):
            yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> Iterator[None]:
    """Sets a PREFECT_API_URL where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: address}):
            yield


@pytest.mark.parametrize("command", ["login", "logout", "renew", "status"])
def test_nobody_listens(command: str, nobody: None, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says so and what to do, without a traceback, and exits with 1."""
    assert 1 == run(command)
    shown = capsys.readouterr()
    assert ("", False) == (shown.out, "Traceback" in shown.err)
    assert "PrefectUnavailable: No Prefect server answers (ConnectError)." in shown.err
    advice = " ".join(shown.err.split())
    words = ("PREFECT_API_URL", "prefect server start", "etrade-session doctor")
    assert [] == [word for word in words if word not in advice]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (200, "ending in /api"),  # a page, as Prefect's UI has
        (401, "PREFECT_API_AUTH_STRING"),
        (403, "PREFECT_API_KEY"),
        (404, "prefect version"),
        (422, "prefect version"),
        (500, ""),
        (503, "try again in a moment"),
    ],
)
def test_each_status_has_its_remedy(status: int, remedy: str, stranger: Stranger) -> None:
    """The error gives the status, or says that a page is no answer, and what to do about it."""
    stranger.status = status
    said = r"No .* answers \(JSONDecodeError\)" if status == 200 else f"answers with status {status}"
    with pytest.raises(PrefectUnavailable, match=said) as told, prefect_reached():
        pass
    assert remedy in told.value.advice


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("login", "local-file-system/nowhere"),
        ("renew", "no-type/nowhere"),
        ("status --check", "nonsense"),
    ],
)
@pytest.mark.usefixtures("quick_flows")
def test_storage_that_does_not_load(
    command: str, named: str, simulator: Simulator, block: str, fails: Callable[..., str]
) -> None:
    """A result storage that does not load is reported before E*TRADE or the person is asked."""
    with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: named}):
        said = fails(*command.split(), "--credentials", block)
    assert f"PrefectUnavailable: Prefect's result storage cannot be loaded: the block {named} (" in said
    assert "correct or unset PREFECT_DEFAULT_RESULT_STORAGE_BLOCK" in said
    assert [] == simulator.calls()


@pytest.mark.parametrize(
    "settings",
    [
        {PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "secret/fake"},
        {PREFECT_LOCAL_STORAGE_PATH: "/proc/nowhere"},
    ],
    ids=["another type", "unwritable"],
)
@pytest.mark.usefixtures("quick_flows", "simulator")
def test_storage_that_takes_nothing_stops_nothing(settings: dict[Any, str], block: str, run: Run) -> None:
    """If the record of a renewal cannot be stored, the renewal still counts."""
    Secret(value="fake").save("fake", overwrite=True)
    with temporary_settings(settings):
        assert 0 == run("renew", "--credentials", block)


@pytest.mark.usefixtures("prefect_server")
def test_storage_of_the_server_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no setting names a storage block, the error names the server's default."""
    unreadable = partial(fail_with, ObjectNotFound(httpx.RequestError("fake")))
    monkeypatch.setattr("etrade_flows.runs.server.default_result_storage", unreadable)
    with pytest.raises(PrefectUnavailable, match="the server's default"):
        require_result_storage()


@pytest.mark.usefixtures("prefect_server")
def test_door_in_code_tells_of_the_storage() -> None:
    """In code, a storage that does not load raises our own error, and other errors pass unchanged."""
    nowhere = "local-file-system/nowhere"
    with (
        temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: nowhere}),
        pytest.raises(PrefectUnavailable, match=nowhere),
        storage_told(),
    ):
        any_task()
    with pytest.raises(ValueError, match="fake"), storage_told():
        raise ValueError("fake")


@pytest.mark.usefixtures("quick_flows")
def test_block_that_cannot_be_written_asks_nobody(
    simulator: Simulator, block: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key that may only read, `login` ends before it begins a sign-in at E*TRADE."""
    monkeypatch.setattr(SyncPrefectClient, "update_block_document", lambda *_: fail_with(refusal(403)))
    assert "a key that may only read is not enough" in fails("login", "--credentials", block)
    assert [] == simulator.calls()


@pytest.mark.usefixtures("quick_flows")
def test_look_whether_a_block_can_be_written_changes_nothing(
    simulator: Simulator, block: str, credentials: ETradeCredentials
) -> None:
    """A sign-in that nobody completes leaves the block on the server unchanged."""
    with pytest.raises(SignInRequired, match="fake"):
        in_rounds(block, stored_credentials(block), lambda *_: fail_with(SignInRequired("fake")))
    assert credentials == stored_credentials(block)


@pytest.mark.parametrize("command", ["renew", "status"])
def test_json_is_printed_all_the_same(
    command: str, nobody: None, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json, standard output is still one object, and it names the error."""
    assert 1 == run(command, "--json")
    said = json.loads(capsys.readouterr().out)
    assert ("failed", "PrefectUnavailable") == (said["state"], said["error"])


def test_server_that_is_busy_is_not_waited_for(stranger: Stranger, run: Run) -> None:
    """If the server is busy, the command gives up after one more try, and not after minutes of them."""
    stranger.status = 503
    assert 1 == run("status")
    assert 1 + RETRIES == stranger.asked


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([httpx.ReadError("fake")], "ReadError"),
        ([ObjectLimitReached(Exception("fake"))], "ObjectLimitReached"),
        ([RuntimeError("fake"), refusal(409)], "status 409"),
    ],
    ids=["goes away", "refuses", "wrapped"],
)
def test_server_that_fails_later_is_told_of(errors: list[Exception], told: str, prefect_server: None) -> None:
    """If the server fails after its first answer, the error is the same and names the kind of failure."""
    with pytest.raises(PrefectUnavailable, match=told), prefect_reached():
        fail_with(*errors)


def test_mistake_of_our_own_is_not_the_server_s(prefect_server: None) -> None:
    """An error that no client raised passes unchanged, so that nobody is sent to PREFECT_API_URL."""
    with pytest.raises(RuntimeError, match="fake"), prefect_reached():
        raise RuntimeError("fake")


def test_setting_that_keeps_prefect_from_starting_is_named() -> None:
    """If Prefect cannot be imported, the command names the wrong setting, without a traceback."""
    program = (
        "import sys, etrade_session; sys.argv = ['etrade-session', *sys.argv[1:]]; etrade_session.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "status"],
        env=os.environ | {"PREFECT_LOGGING_LEVEL": "canary"},
        capture_output=True,
        text=True,
        check=False,
    )
    ours = done.stderr[done.stderr.index("PrefectUnavailable") :]
    assert (1, "") == (done.returncode, done.stdout)
    assert "PREFECT_...LEVEL" in ours
    assert "Next: correct or unset it" in ours
    assert [] == [word for word in ("Traceback", "canary") if word in ours]
