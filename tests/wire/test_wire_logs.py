"""What the HTTP libraries' loggers, and all others, show at DEBUG while this package makes calls."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from socket import create_server, socket
from urllib.parse import quote, unquote

import httpx
import pytest

from etrade_tasks import ETradeCredentials, ETradeError, call_renew, sign_request
from etrade_tasks.clock import now
from etrade_tasks.oauth.authorization import IssuedToken, access_token, request_token
from etrade_tasks.oauth.signature import SigningKeys
from etrade_tasks.oauth.wire_logs import WIRE_LOGGERS

KeysFor = Callable[[str], ETradeCredentials]
CANARY = re.compile("canary|oauth_signature|VRF5Y")
TOKENS = "oauth_token=canary-new-token&oauth_token_secret=canary-new-secret"

ECHOES = {
    "a header": "HTTP/1.1 200 OK\r\nX-Echo: {echo}\r\nContent-Length: {size}\r\n\r\n{body}",
    "the reason phrase": "HTTP/1.1 401 {echo}\r\nContent-Length: {size}\r\n\r\n{body}",
    "no HTTP at all": "{echo}\r\n\r\n",
    "a header that is none": "HTTP/1.1 200 OK\r\n{echo}\r\n\r\n",
    "a chunk that is none": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{echo}\r\n",
    "a redirect": "HTTP/1.1 302 Found\r\nLocation: /?t={echo}\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(params=ECHOES.values(), ids=ECHOES)
def echo(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that sends back what it receives, in places where nobody would look for it."""
    over = threading.Event()

    def answer(client: socket) -> None:
        asked = client.recv(65536).decode(errors="replace")
        sent = " ".join(re.findall(r"(?im)^(?:authorization|cookie): (.*)\r$", asked))
        told = f"{unquote(sent)} {quote(sent)} {TOKENS}".replace("\n", " ")
        text = request.param.format(echo=told, body=TOKENS, size=len(TOKENS))
        client.sendall(text.encode(errors="replace"))

    def serve() -> None:
        while not over.is_set():
            with closing(listener.accept()[0]) as client, suppress(OSError):
                answer(client)

    with closing(create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        with closing(socket()) as last:
            last.connect(listener.getsockname())
        thread.join()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Returns the text of everything that the process's loggers write at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    return lambda: "\n".join(f"{record.name}: {record.getMessage()}" for record in caplog.records)


def test_the_sweep_would_find_a_leak(echo: str, logged: Callable[[], str]) -> None:
    """The check can fail: a call without this package's guard does show what was sent or came back."""
    with suppress(httpx.HTTPError):
        httpx.get(echo, headers={"Authorization": "canary"})
    assert CANARY.search(logged())


def test_a_renewal_shows_no_secret(echo: str, keys_for: KeysFor, logged: Callable[[], str]) -> None:
    """The logs show a renewal call's events, and nothing that it sent or received."""
    call_renew.fn(sign_request.fn(keys_for(echo)))
    assert "send_request_headers.complete" in logged()
    assert "connect_tcp.started host='127.0.0.1'" in logged()
    assert None is CANARY.search(logged())


@pytest.mark.usefixtures("quick_retries")
def test_a_sign_in_shows_no_secret(echo: str, logged: Callable[[], str]) -> None:
    """The logs show no secret of a sign-in's calls, including the new tokens and the verifier."""
    consumer = SigningKeys("canary-key", "canary-secret")
    with suppress(ETradeError):
        request_token(consumer, echo)
    begun = IssuedToken("canary-request-token", "canary-request-secret", now())
    with suppress(ETradeError):
        access_token(consumer, begun, "VRF5Y", echo)
    assert "httpcore.http11" in logged()
    assert None is CANARY.search(logged())


def test_data_calls_show_no_secret(echo: str, keys_for: KeysFor, logged: Callable[[], str]) -> None:
    """The logs show no secret of the block's clients, whether a body is read at once or streamed."""
    credentials = keys_for(echo)

    async def get() -> None:
        async with credentials.get_async_client() as client:
            with suppress(httpx.HTTPError):
                await client.get("/v1")
            with suppress(httpx.HTTPError):
                async with client.stream("GET", "/v1") as answer:
                    await answer.aread()

    with credentials.get_client() as client:
        with suppress(httpx.HTTPError):
            client.get("/v1")
        with suppress(httpx.HTTPError), client.stream("GET", "/v1") as answer:
            answer.read()
    asyncio.run(get(), debug=True)  # in debug mode, event loops log more
    assert "httpcore.http11" in logged()
    assert None is CANARY.search(logged())


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_calls_of_others_are_logged_as_ever(
    serve: Callable[..., object], keys_for: KeysFor, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    """Before, after and between this package's calls, a user's own calls are logged in full, at any level."""
    caplog.set_level(level)
    server = serve(headers={"X-Mine": "mine"})

    def lines(calls: Callable[[], object]) -> list[str]:
        caplog.clear()
        calls()
        return [re.sub("0x[0-9a-f]+|Date.*?GMT|port=[0-9]+", "", r.getMessage()) for r in caplog.records]

    alone = lines(lambda: httpx.get(server.url + "/?q=mine"))
    call_renew.fn(sign_request.fn(keys_for(server.url)))
    assert alone == lines(lambda: httpx.get(server.url + "/?q=mine"))
    with keys_for(server.url).get_client() as client, client.stream("GET", "/v1") as streamed:
        chunks = streamed.iter_bytes()
        next(chunks)
        assert alone == lines(lambda: httpx.get(server.url + "/?q=mine"))
    assert ("X-Mine" in "".join(alone)) == (level == logging.DEBUG)


def test_a_data_call_is_still_told(
    serve: Callable[..., object], keys_for: KeysFor, caplog: pytest.LogCaptureFixture
) -> None:
    """The line that httpx logs for a call at INFO is still there, without the query and the reason phrase."""
    caplog.set_level(logging.INFO)
    server = serve()
    with keys_for(server.url).get_client() as client:
        client.get("/v1/accounts/list.json", params={"of": "somebody"})
    assert f'HTTP Request: GET {server.url}/v1/accounts/list.json "HTTP/1.0 200"' in caplog.messages


def test_a_streamed_body_arrives_whole(serve: Callable[..., object], keys_for: KeysFor) -> None:
    """A streamed body arrives as it was sent, in sync and async code."""
    body = bytes(range(256)) * 1000
    credentials = keys_for(serve(body=body).url)

    async def read() -> bytes:
        async with credentials.get_async_client() as client, client.stream("GET", "/v1") as answer:
            return b"".join([chunk async for chunk in answer.aiter_bytes()])

    with credentials.get_client() as client, client.stream("GET", "/v1") as answer:
        assert (body, body) == (b"".join(answer.iter_bytes()), asyncio.run(read()))


def test_every_logger_of_the_wire_is_known() -> None:
    """Every logger of the installed HTTP libraries is one that the guard knows."""
    families = ("httpx", "httpcore", "hpack", "h2", "h11", "socksio", "authlib")
    found = {
        name
        for name, logger in logging.root.manager.loggerDict.items()
        if name.partition(".")[0] in families and isinstance(logger, logging.Logger)
    }
    assert set() == found - set(WIRE_LOGGERS) - {"httpcore", "hpack"}
