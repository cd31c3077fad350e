"""Proxies from the environment: used for other machines, never for this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from etrade_tasks import ETradeCredentials, call_renew, sign_request

KeysFor = Callable[[str], ETradeCredentials]


@pytest.fixture(params=["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def proxy(request: pytest.FixtureRequest, serve: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A proxy that the environment names, which answers every request itself."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    running = serve(status=502, body=b"I am the proxy")
    monkeypatch.setenv(request.param, running.url)
    return running


def test_calls_to_this_machine_go_direct(proxy: Any, serve: Any, keys_for: KeysFor) -> None:
    """Renewals and the block's clients ask no proxy for any loopback address or this machine's name."""

    async def get(credentials: ETradeCredentials) -> int:
        async with credentials.get_async_client() as client:
            return (await client.get("/v1")).status_code

    urls = [serve(host=host).url for host in ("127.0.0.1", "127.8.9.10")]
    for url in (*urls, urls[0].replace("127.0.0.1", "localhost")):
        credentials = keys_for(url)
        assert 200 == call_renew.fn(sign_request.fn(credentials)).status_code
        with credentials.get_client() as client:
            assert 200 == client.get(url.replace("localhost", "LOCALHOST")).status_code
        assert 200 == asyncio.run(get(credentials))
    call_renew.fn(sign_request.fn(keys_for("http://[::1]:9")))  # whether or not somebody listens there
    assert [] == proxy.asked


def test_others_are_reached_by_the_proxy(proxy: Any, keys_for: KeysFor) -> None:
    """A call to another machine uses the proxy."""
    with keys_for("https://api.etrade.com").get_client() as client:
        assert 502 == client.get("http://etrade.example/v1", auth=None).status_code
    assert ["http://etrade.example/v1"] == proxy.asked
