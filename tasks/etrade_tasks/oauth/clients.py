"""How a client of this package reaches E*TRADE: trusted CAs, proxies and time limits.

No client follows a redirect: that would carry a signature made for one address, and its nonce, to another.
"""

from __future__ import annotations

from typing import Any

import httpx

from etrade_tasks.oauth.addresses import LOOPBACK_HOSTS, is_loopback
from etrade_tasks.oauth.tls import tls_context
from etrade_tasks.oauth.wire_logs import GuardedAsyncClient, GuardedClient

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection."""
READ_TIMEOUT = 10.0
"""Seconds to wait for the next part of an answer."""


class SignedClient(GuardedClient):
    """An `httpx.Client` that hands on every redirect, even where a caller asks it to follow.

    httpx sends an order (a POST) that is redirected with status 307 or 308 a second time.
    """

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx names them
        """Send the request once, and give its answer; `follow_redirects` has no effect."""
        options["follow_redirects"] = False
        return super().send(request, **options)


class SignedAsyncClient(GuardedAsyncClient):
    """As `SignedClient`, an `httpx.AsyncClient`."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx names them
        """As `SignedClient.send`."""
        options["follow_redirects"] = False
        return await super().send(request, **options)


def client_options(base: str) -> dict[str, Any]:
    """What an httpx client, sync or async, is made with.

    Args:
        base: An address that it will call.

    Raises:
        CredentialsInvalid: A setting for TLS cannot be used.
    """
    return {
        "verify": tls_context(),
        "mounts": dict.fromkeys(_direct(base)),
        "follow_redirects": False,
        "timeout": httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
    }


def _direct(base: str) -> set[str]:
    """What httpx takes past the environment's proxies: this machine, which a proxy would not find.

    A pattern names one host, so the loopback address in use is named beside the usual ones.
    """
    try:
        host = httpx.URL(base).host
    except (httpx.InvalidURL, UnicodeError):  # the call itself will tell
        host = ""
    hosts = {*LOOPBACK_HOSTS, *([host] if is_loopback(host) else [])}
    return {f"all://[{name}]" if ":" in name else f"all://{name}" for name in hosts}
