"""What the tests of the guides and recipes share: a shell in which their reader sits."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from prefect.settings import get_current_settings

from etrade_simulator import Simulator
from prefect_etrade import ETradeCredentials


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """E*TRADE on real time, as a process of its own sees it."""
    with Simulator() as running:
        yield running


@pytest.fixture
def environment(prefect_server: None, credentials: ETradeCredentials) -> dict[str, str]:
    """A shell with a Prefect server and a block named `etrade`, where serving finds a run within a second."""
    credentials.save("etrade", overwrite=True)
    return os.environ | {
        "PREFECT_API_URL": get_current_settings().api.url,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
