"""The task `call-renew`."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import unquote

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE

from etrade_tasks.clock import now
from etrade_tasks.credentials import CONNECT_TIMEOUT, READ_TIMEOUT
from etrade_tasks.redaction import scrub
from etrade_tasks.replies import RenewalReply
from etrade_tasks.sign_request import SignedRequest

BODY_LIMIT = 64 * 1024
"""The most bytes of an answer that are read."""

CALL_LIMIT = timedelta(seconds=15)
"""The longest that one call may take, however slowly the answer drips in."""


class _TooSlow(Exception):
    """The answer did not end within the time for one call."""


# A reply is of one moment: a cached one would say that a token lives which has died since.
@task(name="call-renew", cache_policy=NO_CACHE, persist_result=False)
def call_renew(request: SignedRequest, limit: timedelta = CALL_LIMIT) -> RenewalReply:
    """E*TRADE's reply to one GET, or what the network did instead. Never raises on what the network does.

    Redirects are not followed and at most 64 KiB are read. What the answer echoes of a token, a key, a
    secret or the signature is removed before anybody sees it.

    Args:
        request: The signed call.
        limit: The longest the whole call may take.
    """
    return fetch(request, limit)


def fetch(request: SignedRequest, limit: timedelta = CALL_LIMIT) -> RenewalReply:
    """As `call_renew`, for any of E*TRADE's OAuth calls and outside of any task."""
    ends_at = time.monotonic() + limit.total_seconds()
    seconds = limit.total_seconds()
    timeout = httpx.Timeout(min(READ_TIMEOUT, seconds), connect=min(CONNECT_TIMEOUT, seconds))
    headers = {
        "Authorization": request.authorization.get_secret_value(),
        # An answer that is not compressed cannot unpack to more than the limit.
        "Accept-Encoding": "identity",
    }
    try:
        with (
            httpx.Client(follow_redirects=False, timeout=timeout) as client,
            client.stream("GET", request.url, headers=headers) as response,
        ):
            body = _read(response.iter_raw(), ends_at)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, _TooSlow) as error:
        return RenewalReply(None, {}, "", received_at=now(), transport_error=_describe(error))
    known = _known_secrets(request)
    return RenewalReply(
        status_code=response.status_code,
        headers={name: scrub(value, known) for name, value in response.headers.items()},
        body=scrub(body.decode(errors="replace"), known),
        received_at=now(),
    )


def _read(chunks: Iterable[bytes], ends_at: float) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) >= BODY_LIMIT:
            break
        if time.monotonic() > ends_at:
            raise _TooSlow
    return bytes(body[:BODY_LIMIT])


def _known_secrets(request: SignedRequest) -> list[str]:
    """The secrets themselves, and the values that the header carries: signature and nonce among them."""
    header = request.authorization.get_secret_value()
    sent = re.findall(r'oauth_(?:consumer_key|token|signature|nonce)="([^"]+)"', header)
    return [secret.get_secret_value() for secret in request.secrets] + [unquote(value) for value in sent]


def _describe(error: Exception) -> str:
    """What the network did, without the error's own text: that may quote the header it choked on."""
    name = "ReadTimeout" if isinstance(error, _TooSlow) else type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return f"{name} (the host's name cannot be resolved)"
        if isinstance(cause, OSError) and cause.errno:
            return f"{name} ({os.strerror(cause.errno)})"
        cause = cause.__cause__ or cause.__context__
    return name
