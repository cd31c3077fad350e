"""One GET to E*TRADE: bounded in time and size, with nothing secret left in what comes back."""

import os
import re
import socket
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import unquote

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from etrade_tasks.clock import now
from etrade_tasks.oauth.clients import client_options
from etrade_tasks.oauth.redaction import scrubber
from etrade_tasks.oauth.replies import RenewalReply
from etrade_tasks.oauth.signature import SignedRequest
from etrade_tasks.oauth.tls import TlsFailure, causes, tls_failure
from etrade_tasks.oauth.wire_logs import guarded

BODY_LIMIT = 64 * 1024
"""The most bytes of an answer that are read."""

CALL_LIMIT = timedelta(seconds=15)
"""The longest that one call may take, however slowly the answer drips in."""

_MOST_CODINGS = 3
_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""What zlib calls the content codings that it can undo."""


def fetch(request: SignedRequest, limit: timedelta = CALL_LIMIT) -> RenewalReply:
    """E*TRADE's reply to one GET, or what the network did instead. Never raises on what the network does.

    Redirects are not followed, and at most 64 KiB are read and unpacked. What the answer echoes of a token,
    a key, a secret or the signature is removed before anybody sees it.

    Args:
        request: The signed call.
        limit: The longest the whole call may take.

    Raises:
        CredentialsInvalid: A setting for TLS cannot be used.
    """
    try:
        # An event loop of its own thread, since only async code can be stopped between two bytes of a header.
        with start_blocking_portal() as portal:
            response, body = portal.call(_exchange, request, limit.total_seconds())
    # A host's name that is no name raises UnicodeError.
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError) as error:
        tls = tls_failure(error)
        said, remedy = _describe(error, tls), tls.remedy if tls else None
        return RenewalReply(None, {}, "", received_at=now(), transport_error=said, remedy=remedy)
    scrub = scrubber(_known_secrets(request))
    text = unpacked(body, response.headers.get("Content-Encoding", "")).decode(errors="replace")
    return RenewalReply(
        status_code=response.status_code,
        headers={name: scrub(value) for name, value in response.headers.items()},
        body=scrub(text),
        received_at=now(),
    )


async def _exchange(request: SignedRequest, seconds: float) -> tuple[httpx.Response, bytes]:
    """The answer and the start of its body.

    Raises:
        TimeoutError: It did not end in time, however steadily it drips in.
    """
    headers = {
        "Authorization": request.authorization.get_secret_value(),
        # Some servers and proxies compress their answers all the same.
        "Accept-Encoding": "identity",
    }
    with guarded(), anyio.fail_after(seconds):
        async with (
            httpx.AsyncClient(**client_options(request.url)) as client,
            client.stream("GET", request.url, headers=headers) as response,
        ):
            return response, await _start_of(response.aiter_raw())


async def _start_of(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) >= BODY_LIMIT:
            break
    return bytes(body[:BODY_LIMIT])


def unpacked(body: bytes, codings: str) -> bytes:
    """The body without its content codings (RFC 9110, section 8.4), at most 64 KiB of it.

    However small a body is and however much it unpacks to, no more than that is ever made of it. A body that
    cannot be unpacked becomes a note that says so: its bytes would tell nobody anything.

    Args:
        body: The start of the body, as it came.
        codings: The header `Content-Encoding`.
    """
    applied = [coding.strip().lower() for coding in codings.split(",")]
    packed = [coding for coding in applied if coding not in ("", "identity")]
    for coding in reversed(packed):
        try:
            body = _unpack_once(body, coding if len(packed) <= _MOST_CODINGS else "")
        except (KeyError, zlib.error):
            return f"[packed as {coding}, and cannot be unpacked]".encode()
    return body


def _unpack_once(body: bytes, coding: str) -> bytes:
    """One coding undone.

    Raises:
        KeyError: It is not known. httpx knows two more, but does not bound what they unpack to.
        zlib.error: The body is not packed so.
    """
    if coding == "deflate" and body[:1] and body[0] & 0x0F != zlib.DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, BODY_LIMIT)  # some leave the wrapping out
    return zlib.decompressobj(_WINDOWS[coding]).decompress(body, BODY_LIMIT)


def _known_secrets(request: SignedRequest) -> list[str]:
    """The secrets themselves, and the values that the header carries: signature and nonce among them."""
    header = request.authorization.get_secret_value()
    sent = re.findall(r'oauth_(?:consumer_key|token|signature|nonce)="([^"]+)"', header)
    return [secret.get_secret_value() for secret in request.secrets] + [unquote(value) for value in sent]


def _describe(error: Exception, tls: TlsFailure | None) -> str:
    """What the network did, without the error's own text: that may quote the header it choked on."""
    name = "ReadTimeout" if isinstance(error, TimeoutError) else type(error).__name__
    if tls is not None:
        return f"{name} (TLS: {tls.reason})"
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            return f"{name} (the host's name cannot be resolved)"
        if isinstance(cause, OSError) and cause.errno:
            return f"{name} ({os.strerror(cause.errno)})"
    return name
