"""A pytest plug-in: a running simulator, and an access token just signed in, as fixtures.

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
