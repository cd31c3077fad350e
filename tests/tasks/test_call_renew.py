"""The tasks `sign-request` and `call-renew`: one signed GET that always returns a reply."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from socket import create_server
from urllib.parse import quote, unquote

import httpx
import pytest
import respx

from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, call_renew, sign_request
from etrade_tasks.oauth.http import BODY_LIMIT

RENEW = "/oauth/renew_access_token"
OFFLINE = ETradeCredentials.model_validate(
    {
        "consumer_key": "fake-consumer-key",
        "consumer_secret": "fake-consumer-secret",
        "access_token": "fake/access+token=",
        "access_token_secret": "fake/token+secret=",
    }
)
OFFLINE_URL = "https://api.etrade.com/oauth/renew_access_token"


def test_signed_call_renews(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """E*TRADE accepts the call, and the reply has the status, headers, text and time of receipt."""
    reply = call_renew.fn(sign_request.fn(credentials))
    assert (200, None) == (reply.status_code, reply.transport_error)
    assert "Access Token has been renewed" in reply.body
    assert reply.header("CONTENT-TYPE").startswith("text/")
    assert abs(simulator.now() - reply.received_at) < timedelta(minutes=1)


def test_nonce_and_offset_can_be_given(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """If a nonce is given, it is sent, otherwise always another one; an offset moves the timestamp."""
    first, second, request = (
        sign_request.fn(credentials, clock_offset=timedelta(hours=1), nonce=nonce)
        for nonce in (None, None, "fake-nonce")
    )
    assert first.authorization != second.authorization
    header = request.authorization.get_secret_value()
    later = int((simulator.now() + timedelta(hours=1)).timestamp())
    assert 'oauth_nonce="fake-nonce"' in header
    assert any(f'oauth_timestamp="{later - late}"' in header for late in range(3))


def test_redirect_is_not_followed(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """A redirect is returned like any other reply, so no signature goes elsewhere."""
    simulator.plant(Fault(status=307, headers={"Location": simulator.url + RENEW}), path=RENEW)
    assert 307 == call_renew.fn(sign_request.fn(credentials)).status_code
    assert 1 == len(simulator.calls(RENEW))


@respx.mock
def test_no_more_is_read_than_the_limit_needs() -> None:
    """Reading ends within the chunk that reaches 64 KiB, and what is beyond is dropped."""
    asked: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            asked.append(number)
            yield b"x" * (BODY_LIMIT // 2 + 1)

    respx.get(OFFLINE_URL).respond(200, stream=chunks())
    assert (BODY_LIMIT, [0, 1]) == (len(call_renew.fn(sign_request.fn(OFFLINE)).body), asked)


@pytest.mark.parametrize("drop", ["before-answer", "mid-body"])
def test_dropped_connection_is_a_reply(
    simulator: Simulator, credentials: ETradeCredentials, drop: str
) -> None:
    """A connection that E*TRADE drops gives a reply and does not raise."""
    simulator.plant(Fault(drop=drop), path=RENEW)
    reply = call_renew.fn(sign_request.fn(credentials))
    assert reply.status_code is None
    assert "RemoteProtocolError" in reply.transport_error


@pytest.mark.parametrize(
    "fault", [Fault(delay=30), Fault(status=200, body="x" * 1000, drip=0.05)], ids=["silent", "dripping"]
)
def test_slow_server_is_left_in_time(
    simulator: Simulator, credentials: ETradeCredentials, fault: Fault
) -> None:
    """If a server says nothing, or each byte comes in time but the whole does not, the call ends in time."""
    simulator.plant(fault, path=RENEW)
    reply = call_renew.fn(sign_request.fn(credentials), limit=timedelta(seconds=0.2))
    assert "ReadTimeout" in reply.transport_error


@contextmanager
def header_without_end() -> Iterator[tuple[str, threading.Event]]:
    """Gives the address of a server whose header never ends, and an event set when its client leaves."""
    left = threading.Event()

    def drip() -> None:
        with closing(listener.accept()[0]) as client:
            client.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            try:
                while not left.wait(0.05):
                    client.sendall(b"x")
            except OSError:
                left.set()

    with closing(create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", left
        finally:
            left.set()
            thread.join()


def test_dripping_header_is_left_in_time() -> None:
    """If a header does not end, the call ends at its limit too, and closes the connection."""
    with header_without_end() as (url, left):
        dripping = OFFLINE.model_copy(update={"oauth_url": url})
        reply = call_renew.fn(sign_request.fn(dripping), limit=timedelta(seconds=0.3))
        assert "ReadTimeout" in reply.transport_error
        assert left.wait(10)


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("http://127.0.0.1:9", "Connection refused"),
        ("http://localhost:9", "Connection refused"),
        ("https://no-such-host.invalid/oauth", "cannot be resolved"),
        ("https://xn--/oauth", "IDNAError"),
    ],
)
def test_host_that_cannot_be_reached_is_a_reply(url: str, failure: str) -> None:
    """If nobody listens, or the host's name is unknown or malformed, the reply says so."""
    nobody = OFFLINE.model_copy(update={"oauth_url": url})
    assert failure in call_renew.fn(sign_request.fn(nobody)).transport_error


@pytest.mark.parametrize(
    "error",
    [
        httpx.LocalProtocolError("Illegal header value b'canary'"),
        httpx.DecodingError("canary"),
        httpx.InvalidURL("canary"),
    ],
    ids=lambda error: type(error).__name__,
)
@respx.mock
def test_transport_error_becomes_a_reply_without_its_text(error: Exception) -> None:
    """A transport error is named by its class, and its text, which may quote the header, is left out."""
    respx.get(OFFLINE_URL).mock(side_effect=error)
    reply = call_renew.fn(sign_request.fn(OFFLINE))
    assert (None, type(error).__name__) == (reply.status_code, reply.transport_error)


@respx.mock
def test_undecodable_bytes_are_replaced() -> None:
    """Bytes that are not UTF-8 are replaced, whatever charset is claimed."""
    headers = {"Content-Type": "text/plain; charset=no-such-charset"}
    respx.get(OFFLINE_URL).respond(200, content=b"\xff Access Token has been renewed", headers=headers)
    assert "\ufffd Access Token has been renewed" == call_renew.fn(sign_request.fn(OFFLINE)).body


@respx.mock
def test_call_asks_for_plain_bytes_at_the_right_address() -> None:
    """One GET goes to E*TRADE's renewal address, and asks for an uncompressed answer."""
    route = respx.get(OFFLINE_URL).respond(200, text="Access Token has been renewed")
    call_renew.fn(sign_request.fn(OFFLINE))
    assert ["identity"] == [call.request.headers["Accept-Encoding"] for call in route.calls]


@pytest.mark.parametrize(
    "spell", [str, lambda s: quote(s, safe=""), lambda s: quote(quote(s, safe=""), safe="")]
)
@respx.mock
def test_echoed_secrets_are_removed(spell: object) -> None:
    """If an answer echoes a key, token, secret or signature, it is removed from the reply."""
    request = sign_request.fn(OFFLINE)
    header = request.authorization.get_secret_value()
    signature = unquote(header.partition('oauth_signature="')[2].partition('"')[0])
    secrets = [*(getattr(OFFLINE.signing_keys, name) for name in OFFLINE.signing_keys.__slots__), signature]
    echo = " | ".join(spell(secret) for secret in secrets)
    respx.get(OFFLINE_URL).respond(401, text=echo, headers={"X-Echo": echo, "X-Header": header})
    reply = call_renew.fn(request)
    seen = reply.body + str(dict(reply.headers))
    assert [] == [secret for secret in secrets if secret in seen or spell(secret) in seen]
