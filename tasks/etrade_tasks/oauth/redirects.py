"""httpx clients that follow no redirect, even where a caller asks for it, and keep out of the logs.

A redirect would carry a signature made for one address, and its nonce, to another. And httpx sends an order
(a POST) that is redirected with status 307 or 308 a second time.
"""

from __future__ import annotations

from typing import Any

import httpx

from etrade_tasks.oauth.wire_logs import GuardedAsyncClient, GuardedClient


class SignedClient(GuardedClient):
    """An `httpx.Client` that hands on every redirect."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx names them
        """Send the request once, and give its answer; `follow_redirects` has no effect."""
        options["follow_redirects"] = False
        return super().send(request, **options)


class SignedAsyncClient(GuardedAsyncClient):
    """An `httpx.AsyncClient` that hands on every redirect."""

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # as httpx names them
        """As `SignedClient.send`."""
        options["follow_redirects"] = False
        return await super().send(request, **options)
