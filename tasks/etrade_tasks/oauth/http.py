"""One GET to E*TRADE: limited in time and size, with all secrets removed from the answer."""

from __future__ import annotations

import os
import re
import socket
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx

from etrade_tasks.clock import now
from etrade_tasks.oauth.clients import client_options
from etrade_tasks.oauth.redaction import scrub
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
"""The longest that one call may take, even if the answer comes in slowly."""

_MOST_CODINGS = 3
_WINDOWS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""The content codings that zlib can undo, with its own names for them."""


def fetch(request: SignedRequest, limit: timedelta = CALL_LIMIT) -> RenewalReply:
    """E*TRADE's reply to one GET, or the network's failure. Never raises for a network failure.

    It follows no redirect, and reads and unpacks at most 64 KiB. If the answer echoes a token, a key, a
    secret or the signature, that is removed before anybody sees it.

    Args:
        request: The signed call.
        limit: The longest that the whole call may take.

    Raises:
        CredentialsInvalid: A setting for TLS cannot be used.
    """
    seconds = limit.total_seconds()
    line = _Line(seconds)
    try:
        response, body = within(seconds, lambda: _exchange(request, line))
    # An invalid host name raises UnicodeError.
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError) as error:
        tls = tls_failure(error)
        said, remedy = _describe(error, tls), tls.remedy if tls else None
        return RenewalReply(None, {}, "", received_at=now(), transport_error=said, remedy=remedy)
    finally:
        line.cut()
    secrets = _known_secrets(request)
    text = unpacked(body, response.headers.get("Content-Encoding", "")).decode(errors="replace")
    return RenewalReply(
        status_code=response.status_code,
        headers={name: scrub(value, secrets) for name, value in response.headers.items()},
        body=scrub(text, secrets),
        received_at=now(),
    )


class _Line:
    """The connection of one call, which is cut at the call's limit.

    Each read has its own time limit, but an answer that drips in never reaches that.

    Args:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._stream: httpcore.NetworkStream | None = None

    def follow(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow the call's events, as a callback for httpcore's extension `trace`.

        Raises:
            TimeoutError: The limit has passed, so the call must not go on.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info["return_value"]
        if time.monotonic() >= self._ends_at:
            raise TimeoutError

    def cut(self) -> None:
        """Close the connection if the call is still reading."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def _exchange(request: SignedRequest, line: _Line) -> tuple[httpx.Response, bytes]:
    """The answer and the start of its body."""
    headers = {
        "Authorization": request.authorization.get_secret_value(),
        # Some servers and proxies compress their answers anyway.
        "Accept-Encoding": "identity",
    }
    with (
        guarded(),
        httpx.Client(**client_options(request.url)) as client,
        client.stream("GET", request.url, headers=headers, extensions={"trace": line.follow}) as response,
    ):
        return response, next(response.iter_raw(BODY_LIMIT), b"")


def unpacked(body: bytes, codings: str) -> bytes:
    """The body without its content codings (RFC 9110, section 8.4), at most 64 KiB of it.

    It never unpacks more than that, however small the body is. A body that cannot be unpacked becomes a note
    that says so, because its bytes would be unreadable. httpx knows two more codings, but does not limit what
    they unpack to.

    Args:
        body: The start of the body, as received.
        codings: The header `Content-Encoding`.
    """
    applied = [coding.strip().lower() for coding in codings.split(",")]
    packed = [coding for coding in applied if coding not in ("", "identity")]
    known = _WINDOWS if len(packed) <= _MOST_CODINGS else {}
    for coding in reversed(packed):
        try:
            window = known[coding]
            if coding == "deflate" and body[:1] and body[0] & 0x0F != zlib.DEFLATED:
                window = -window  # some omit zlib's wrapping
            body = zlib.decompressobj(window).decompress(body, BODY_LIMIT)
        except (KeyError, zlib.error):
            return f"[packed as {coding}, cannot be unpacked]".encode()
    return body


def _known_secrets(request: SignedRequest) -> list[str]:
    """The secrets, and the values in the header, including signature and nonce."""
    header = request.authorization.get_secret_value()
    sent = re.findall(r'oauth_(?:consumer_key|token|signature|nonce)="([^"]+)"', header)
    return [secret.get_secret_value() for secret in request.secrets] + [unquote(value) for value in sent]


def _describe(error: Exception, tls: TlsFailure | None) -> str:
    """The network's failure in words, without the error's own text, which may quote a header."""
    name = "ReadTimeout" if isinstance(error, TimeoutError) else type(error).__name__
    if tls is not None:
        return f"{name} (TLS: {tls.reason})"
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            return f"{name} (the host's name cannot be resolved)"
        if isinstance(cause, OSError) and cause.errno:
            return f"{name} ({os.strerror(cause.errno)})"
    return name
