"""What the tests of the example pipelines share."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from prefect import Task
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State

from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials

PIPELINES = Path(__file__).resolve().parents[2] / "deployments" / "pipelines"
# As Prefect does when it loads a pipeline by its path, so that it finds the module beside it.
sys.path.insert(0, str(PIPELINES))


@pytest.fixture(autouse=True)
def memory_is_empty(empty_memory: None) -> None:
    """Each test begins with nothing in memory."""


@pytest.fixture(autouse=True)
def no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the pauses between calls: this simulator has no rate limit."""
    monkeypatch.setattr("etrade_data.PAUSES", {})


@pytest.fixture
def table() -> Callable[[str], tuple[list[dict[str, str | None]], str]]:
    """Reads the rows of the latest table artifact of a key, and its description."""

    def read(key: str) -> tuple[list[dict[str, str | None]], str]:
        found = Artifact.get(key)
        return json.loads(found.data), found.description

    return read


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Removes the pauses between the attempts of these tasks."""

    def quicken(*tasks: Task) -> None:
        for each in tasks:
            monkeypatch.setattr(each, "retry_delay_seconds", 0)

    return quicken


@pytest.fixture
def server(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the test's server."""
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def children(server: SyncPrefectClient) -> Callable[[UUID], list[FlowRun]]:
    """Finds the child runs of a run."""

    def find(parent: UUID) -> list[FlowRun]:
        linked = {"parent_flow_run_id": {"any_": [parent]}}
        return server.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(linked))

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
    secrets: list[str], server: SyncPrefectClient, caplog: pytest.LogCaptureFixture
) -> Callable[[Sequence[State], Path], list[str]]:
    """Finds the secrets that these runs left in a log, in Prefect's record of them or in their output."""
    caplog.set_level(logging.DEBUG)
    # httpcore logs an answer's headers at DEBUG on purpose: that log shows what is on the wire.
    caplog.set_level(logging.INFO, logger="httpcore")

    def find(states: Sequence[State], written: Path) -> list[str]:
        runs = [server.read_flow_run(state.state_details.flow_run_id) for state in states]
        traces = [caplog.text, repr(states), written.read_bytes().decode("latin-1")]
        traces += [run.model_dump_json() for run in runs]
        return [secret for secret in secrets if any(secret in trace for trace in traces)]

    return find
