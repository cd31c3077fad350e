"""Clients of the simulator that sign with oauthlib, by way of requests-oauthlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
import requests
from requests_oauthlib import OAuth1Session

from etrade_simulator import AccessToken, Consumer, Simulator, SimulatorClock

# A Wednesday in winter, 10:00 US Eastern.
MORNING = datetime(2025, 1, 15, 15, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> SimulatorClock:
    """A clock standing still on a winter morning."""
    return SimulatorClock.frozen(MORNING)


@pytest.fixture
def simulator(clock: SimulatorClock) -> Iterator[Simulator]:
    """A simulator on that clock."""
    with Simulator(clock=clock) as simulator:
        yield simulator


@pytest.fixture
def sign(simulator: Simulator) -> Iterator[Callable[..., requests.Response]]:
    """Call the simulator, signed with a consumer alone or with a token, at the simulator's time.

    Whatever else is passed goes to ``OAuth1Session``, or with ``data``, ``params``, ``headers``,
    ``timeout`` and ``path`` to the request.
    """
    with ExitStack() as open_sessions:

        def call(
            signer: Consumer | AccessToken, url: str, method: str = "GET", **options: object
        ) -> requests.Response:
            for_request = {
                name: options.pop(name)
                for name in ("data", "params", "headers", "timeout")
                if name in options
            }
            options.setdefault("timestamp", str(int(simulator.now().timestamp())))
            session = open_sessions.enter_context(OAuth1Session(*_credentials(signer), **options))
            return session.request(method, url, **for_request)

        yield call


def _credentials(signer: Consumer | AccessToken) -> tuple[str, ...]:
    if isinstance(signer, Consumer):
        return signer.key, signer.secret
    return signer.consumer_key, signer.consumer_secret, signer.token, signer.token_secret


@pytest.fixture
def renew(simulator: Simulator, sign: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
    """Renew an access token."""
    return lambda token, **options: sign(token, simulator.oauth_url + "/renew_access_token", **options)


@pytest.fixture
def list_accounts(
    simulator: Simulator, sign: Callable[..., requests.Response]
) -> Callable[..., requests.Response]:
    """List the accounts of an access token, as JSON."""

    def call(token: AccessToken, **options: object) -> requests.Response:
        return sign(token, simulator.api_url(token.environment) + "/v1/accounts/list.json", **options)

    return call
