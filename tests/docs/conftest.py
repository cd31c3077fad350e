"""What the tests of the guides and recipes share: a shell in which their reader sits."""

from __future__ import annotations

import os

import pytest
from prefect.settings import get_current_settings

from prefect_etrade import ETradeCredentials


@pytest.fixture
def environment(prefect_server: None, credentials: ETradeCredentials) -> dict[str, str]:
    """A shell with a Prefect server and a block named `etrade`, where serving finds a run within a second."""
    credentials.save("etrade", overwrite=True)
    return os.environ | {
        "PREFECT_API_URL": get_current_settings().api.url,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
