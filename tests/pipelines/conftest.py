"""What the tests of the example pipelines share."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State

from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials

PIPELINES = Path(__file__).resolve().parents[2] / "deployments" / "pipelines"
# As Prefect does when it loads a pipeline by its path, so that it finds the module beside it.
sys.path.insert(0, str(PIPELINES))


DATA_CALLS = (
    "market_quotes.read_quotes",
    *(f"nightly_positions.{name}" for name in ("read_accounts", "read_balance", "read_positions")),
)


@pytest.fixture
def quick(quick_flows: None, quick_retries: None, empty_memory: None, monkeypatch: Any) -> None:
    """Removes all waits: this simulator has no rate limit. Each test begins with nothing in memory."""
    monkeypatch.setattr("etrade_data.PAUSES", {})
    for call in DATA_CALLS:
        monkeypatch.setattr(f"{call}.retry_delay_seconds", 0)


@pytest.fixture
def table() -> Callable[[str], tuple[list[dict[str, str | None]], str]]:
    """Reads the rows of the latest table artifact of a key, and its description."""

    def read(key: str) -> tuple[list[dict[str, str | None]], str]:
        found = Artifact.get(key)
        return json.loads(found.data), found.description

    return read


@pytest.fixture
def children(client: SyncPrefectClient) -> Callable[[UUID], list[FlowRun]]:
    """Finds the child runs of a run."""

    def find(parent: UUID) -> list[FlowRun]:
        linked = {"parent_flow_run_id": {"any_": [parent]}}
        return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(linked))

    return find


@pytest.fixture
def data_calls(simulator: Simulator) -> Callable[..., list[int | None]]:
    """Returns the statuses of the data calls so far, or only of those whose path has this ending."""

    def statuses(ending: str = "") -> list[int | None]:
        return [call.status for call in simulator.calls(ending) if call.path.startswith("/v1/")]

    return statuses


@pytest.fixture
def secrets(credentials: ETradeCredentials) -> list[str]:
    """The four secrets of the credentials."""
    keys = credentials.signing_keys
    return [keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret]


@pytest.fixture
def leaks(
    secrets: list[str], client: SyncPrefectClient, caplog: pytest.LogCaptureFixture
) -> Callable[[Sequence[State], Path], list[str]]:
    """Finds the secrets that these runs left in a log, in Prefect's record of them or in their output."""
    caplog.set_level(logging.DEBUG)
    # httpcore logs an answer's headers at DEBUG on purpose: that log shows what is on the wire.
    caplog.set_level(logging.INFO, logger="httpcore")

    def find(states: Sequence[State], written: Path) -> list[str]:
        runs = [client.read_flow_run(state.state_details.flow_run_id) for state in states]
        traces = [caplog.text, repr(states), written.read_bytes().decode("latin-1")]
        traces += [run.model_dump_json() for run in runs]
        return [secret for secret in secrets if any(secret in trace for trace in traces)]

    return find
