"""How a client of this package reaches E*TRADE: trusted CAs, proxies and time limits.

No client follows a redirect: that would send a signature and nonce made for one address to another.
"""

from __future__ import annotations

from typing import Any

import httpx

from etrade_tasks.oauth.addresses import is_loopback
from etrade_tasks.oauth.tls import tls_context
from etrade_tasks.oauth.wire_logs import GuardedAsyncStream, GuardedStream, guarded

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection."""
READ_TIMEOUT = 10.0
"""Seconds to wait for the next part of an answer."""


class SignedClient(httpx.Client):
    """An `httpx.Client` that returns every redirect, even if a caller asks it to follow.

    When httpx follows a redirect with status 307 or 308, it sends an order (a POST) a second time. What the
    client sends and receives stays out of the HTTP libraries' logs.
    """

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx names them
        """Send the request once, and return its answer; `follow_redirects` has no effect."""
        options["follow_redirects"] = False
        with guarded():
            response = super().send(request, **options)
        if not response.is_closed and isinstance(response.stream, httpx.SyncByteStream):
            response.stream = GuardedStream(response.stream)
        return response


class SignedAsyncClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` that works as `SignedClient` does."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx names them
        """Send as `SignedClient.send` does."""
        options["follow_redirects"] = False
        with guarded():
            response = await super().send(request, **options)
        if not response.is_closed and isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = GuardedAsyncStream(response.stream)
        return response


def client_options(base: str) -> dict[str, Any]:
    """The options for an httpx client, sync or async.

    Args:
        base: An address that it will call.

    Raises:
        CredentialsInvalid: A setting for TLS cannot be used.
    """
    return {
        "verify": tls_context(),
        "mounts": _direct(base),
        "follow_redirects": False,
        "timeout": httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
    }


def _direct(base: str) -> dict[str, None]:
    """The pattern of the base's host if httpx calls it without a proxy, because it is this machine."""
    try:
        host = httpx.URL(base).host
    except (httpx.InvalidURL, UnicodeError):  # the call itself will report it
        return {}
    if not is_loopback(host):
        return {}
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None}
