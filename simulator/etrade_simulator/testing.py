"""A pytest plug-in: a running simulator, a new access token, and variables that lead to both.

It comes with the package. A test that uses one of its fixtures also gets a Prefect without blocks or runs,
its own place for renewal records and lock files, and a package that remembers no session. So no test sees
another's session, and none reaches the Prefect server that a developer has set.

That Prefect takes a few seconds to start, once for each pytest run. A suite inside its own
``prefect_test_harness`` keeps that, with its blocks and runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etrade_simulator import AccessToken, Simulator

# The fixtures import what they need, because every pytest run loads the plug-in, and most never use a fixture
# of it.
# ruff: noqa: PLC0415

_STARTUP_LIMIT = 120
"""Seconds that Prefect may take to start; a busy machine has taken 30."""


@pytest.fixture(scope="session")
def _etrade_prefect() -> Iterator[str | None]:
    """Run a Prefect server for this pytest run, and yield its address; None if the suite has its own."""
    if _inside_a_test_harness():
        yield None
        return
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=_STARTUP_LIMIT):
        yield get_current_settings().api.url


def _inside_a_test_harness() -> bool:
    """Return whether this process has started a server and set it as Prefect's API.

    Prefect's harness does both. Its ephemeral mode also starts a server, with the developer's own database,
    but sets no address.
    """
    if "prefect.server.api.server" not in sys.modules:
        return False
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    servers = SubprocessASGIServer._instances.values()  # noqa: SLF001  # Prefect has no public name
    return get_current_settings().api.url in {server.api_url for server in servers if server.running}


@pytest.fixture
def _etrade_isolation(
    _etrade_prefect: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Give the test its own sessions, records, locks, blocks and runs."""
    import prefect.context
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
        PREFECT_LOCAL_STORAGE_PATH,
        temporary_settings,
    )

    from etrade_flows.access.memory import forget_sessions

    url, place = _etrade_prefect or PREFECT_API_URL.value(), tmp_path_factory.mktemp("etrade")
    monkeypatch.setenv("ETRADE_LOCK_DIRECTORY", str(place / "locks"))
    monkeypatch.delenv("ETRADE_LOCK_REDIS_URL", raising=False)
    # For the processes that a test starts, which do not inherit settings made here.
    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(place / "results"))
    forget_sessions()
    with temporary_settings(
        {
            PREFECT_API_URL: url,
            PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: None,
            PREFECT_LOCAL_STORAGE_PATH: place / "results",
        }
    ):
        # For the threads that a test starts: Prefect's settings live in a context that they do not inherit.
        own = prefect.context.get_settings_context()
        monkeypatch.setattr(prefect.context, "GLOBAL_SETTINGS_CONTEXT", own)
        yield
    forget_sessions()
    if _etrade_prefect is not None:
        _forget_blocks_and_runs(_etrade_prefect)


def _forget_blocks_and_runs(url: str) -> None:
    """Delete what a test left on the plug-in's own server; starting a new one would take seconds.

    Args:
        url: That server's address. Prefect's settings may have another by now, and everything is deleted.
    """
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(url) as client:
        while blocks := client.read_block_documents():
            for block in blocks:
                client.delete_block_document(block.id)
        while flows := client.read_flows():
            for flow in flows:
                client.delete_flow(flow.id)  # this also deletes its runs and deployments


@pytest.fixture
def etrade_simulator(_etrade_isolation: None) -> Iterator[Simulator]:
    """The test's own E*TRADE simulator, running on a free loopback port, with nobody signed in.

    It has no rate limits; ``Simulator(rate_limits=True)`` enforces E*TRADE's.
    """
    from etrade_simulator import Simulator

    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def etrade_session(etrade_simulator: Simulator) -> AccessToken:
    """A live access token from a new sign-in at the test's ``etrade_simulator``."""
    return etrade_simulator.sign_in("live")


@pytest.fixture
def etrade_environment(
    etrade_simulator: Simulator, etrade_session: AccessToken, monkeypatch: pytest.MonkeyPatch
) -> AccessToken:
    """Set the ``ETRADE_*`` variables of ``etrade_session`` at ``etrade_simulator``, and return the token.

    They are used for any credentials name without a block.
    """
    for name, value in etrade_simulator.credentials(etrade_session).items():
        monkeypatch.setenv(f"ETRADE_{name.upper()}", str(value))
    return etrade_session
