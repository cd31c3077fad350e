"""One GET to E*TRADE: bounded in time and size, with nothing secret left in what comes back."""

from __future__ import annotations

import os
import re
import socket
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx

from etrade_tasks.clock import now
from etrade_tasks.oauth.clients import client_options
from etrade_tasks.oauth.redaction import scrubber
from etrade_tasks.oauth.replies import RenewalReply
from etrade_tasks.oauth.signature import SignedRequest
from etrade_tasks.oauth.tls import TlsFailure, causes, tls_failure
from etrade_tasks.oauth.wire_logs import guarded
from etrade_tasks.time_limit import within

if TYPE_CHECKING:
    import httpcore

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
    seconds = limit.total_seconds()
    line = _Line(seconds)
    try:
        response, body = within(seconds, lambda: _exchange(request, line))
    # A host's name that is no name raises UnicodeError.
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError) as error:
        tls = tls_failure(error)
        said, remedy = _describe(error, tls), tls.remedy if tls else None
        return RenewalReply(None, {}, "", received_at=now(), transport_error=said, remedy=remedy)
    finally:
        line.cut()
    scrub = scrubber(_known_secrets(request))
    text = unpacked(body, response.headers.get("Content-Encoding", "")).decode(errors="replace")
    return RenewalReply(
        status_code=response.status_code,
        headers={name: scrub(value) for name, value in response.headers.items()},
        body=scrub(text),
        received_at=now(),
    )


class _Line:
    """The connection of one call, which ends with the call's limit.

    Each read has a time limit of its own, which an answer that drips in never meets.

    Args:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._stream: httpcore.NetworkStream | None = None

    def follow(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpcore tells of the call, for its extension `trace`.

        Raises:
            TimeoutError: The limit is over, so no further step is taken.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info["return_value"]
        if time.monotonic() >= self._ends_at:
            raise TimeoutError

    def cut(self) -> None:
        """End what the call still reads; nothing where it is over."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def _exchange(request: SignedRequest, line: _Line) -> tuple[httpx.Response, bytes]:
    """The answer and the start of its body."""
    headers = {
        "Authorization": request.authorization.get_secret_value(),
        # Some servers and proxies compress their answers all the same.
        "Accept-Encoding": "identity",
    }
    with (
        guarded(),
        httpx.Client(**client_options(request.url)) as client,
        client.stream("GET", request.url, headers=headers, extensions={"trace": line.follow}) as response,
    ):
        return response, _start_of(response.iter_raw())


def _start_of(chunks: Iterator[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
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
