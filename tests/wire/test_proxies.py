"""Proxies from the environment: used for other machines, never for this one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from etrade_tasks import ETradeCredentials, call_renew, sign_request

KeysFor = Callable[[str], ETradeCredentials]

LOOPBACK = ["127.0.0.1", "127.8.9.10"]


@pytest.fixture(params=["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def proxy(request: pytest.FixtureRequest, serve: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A proxy that the environment names, which answers every request itself."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    running = serve(status=502, body=b"I am the proxy")
    monkeypatch.setenv(request.param, running.url)
    return running


@pytest.mark.parametrize("host", LOOPBACK)
def test_an_oauth_call_to_this_machine_goes_direct(
    proxy: Any, serve: Any, keys_for: KeysFor, host: str
) -> None:
    """A renewal call reaches a simulator on any loopback address, even if a proxy is set."""
    reply = call_renew.fn(sign_request.fn(keys_for(serve(host=host).url)))
    assert (200, []) == (reply.status_code, proxy.asked)


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_data_call_to_this_machine_goes_direct(
    proxy: Any, serve: Any, keys_for: KeysFor, host: str
) -> None:
    """The calls of the block's clients also reach it directly."""
    credentials = keys_for(serve(host=host).url)

    async def get() -> int:
        async with credentials.get_async_client() as client:
            return (await client.get("/v1")).status_code

    with credentials.get_client() as client:
        assert (200, 200) == (client.get("/v1").status_code, asyncio.run(get()))
    assert [] == proxy.asked


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST"])
def test_this_machine_is_known_by_name(proxy: Any, serve: Any, keys_for: KeysFor, name: str) -> None:
    """The proxy is not asked for this machine's name either."""
    url = serve().url.replace("127.0.0.1", name)
    assert 200 == call_renew.fn(sign_request.fn(keys_for(url.lower()))).status_code
    with keys_for(url.lower()).get_client() as client:
        assert 200 == client.get(url).status_code
    assert [] == proxy.asked


def test_this_machine_is_known_by_its_newer_number(proxy: Any, keys_for: KeysFor) -> None:
    """A call to ::1 does not ask the proxy, whether or not somebody listens there."""
    call_renew.fn(sign_request.fn(keys_for("http://[::1]:9")))
    assert [] == proxy.asked


def test_others_are_reached_by_the_proxy(proxy: Any, keys_for: KeysFor) -> None:
    """A call to another machine uses the proxy."""
    with keys_for("https://api.etrade.com").get_client() as client:
        assert 502 == client.get("http://etrade.example/v1", auth=None).status_code
    assert ["http://etrade.example/v1"] == proxy.asked
