"""A pytest plug-in: a running simulator, an access token just signed in, and variables that lead to both.

It comes with the package; a test that names a fixture gets it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etrade_simulator import AccessToken, Simulator


@pytest.fixture
def etrade_simulator() -> Iterator[Simulator]:
    """A running E*TRADE simulator of the test's own, on a free loopback port, with nothing signed in.

    It takes any number of calls a second; ``Simulator(rate_limits=True)`` keeps E*TRADE's limits.
    """
    # Imported here: the plug-in is loaded in every pytest run, and most of them start no simulator.
    from etrade_simulator import Simulator  # noqa: PLC0415

    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def etrade_session(etrade_simulator: Simulator) -> AccessToken:
    """A live access token, just signed in to the test's ``etrade_simulator``."""
    return etrade_simulator.sign_in("live")


@pytest.fixture
def etrade_environment(
    etrade_simulator: Simulator, etrade_session: AccessToken, monkeypatch: pytest.MonkeyPatch
) -> AccessToken:
    """The ``ETRADE_*`` variables of ``etrade_session`` at ``etrade_simulator``, set for the test; the token.

    They stand in for credentials of any name of which there is no block.
    """
    values = {
        "ENVIRONMENT": etrade_session.environment,
        "CONSUMER_KEY": etrade_session.consumer_key,
        "CONSUMER_SECRET": etrade_session.consumer_secret,
        "ACCESS_TOKEN": etrade_session.token,
        "ACCESS_TOKEN_SECRET": etrade_session.token_secret,
        "SIGNED_IN_AT": etrade_session.issued_at.isoformat(),
        "OAUTH_URL": etrade_simulator.oauth_url,
        "API_URL": etrade_simulator.api_url(etrade_session.environment),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"ETRADE_{name}", value)
    return etrade_session
