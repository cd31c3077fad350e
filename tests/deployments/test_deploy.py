"""`prefect deploy --all` and a process worker, both real, with the simulator as E*TRADE."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from etrade_simulator import Fault, Simulator

ROOT = Path(__file__).resolve().parents[2]
RENEW = "/oauth/renew_access_token"
NAMES = [
    "renew-access-token/hourly",
    "renew-access-token/on-demand",
    "sign-in/sign-in",
    "sign-out/sign-out",
    "nightly-positions/weeknights",
    "market-quotes/market-hours",
]

RunNow = Callable[..., UUID]
EndState = Callable[[UUID], State]


def test_deploying_again_leaves_the_work_pool_as_it_is(
    deployed: str, client: SyncPrefectClient, make_deploy: list[str]
) -> None:
    """`make deploy` creates the work pool if there is none, and keeps the settings of an existing one."""
    client.update_work_pool("etrade", WorkPoolUpdate(concurrency_limit=300))
    told = subprocess.run(
        [*make_deploy, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (step,) = (line for line in told.splitlines() if "work-pool" in line)
    variables = os.environ | {"PREFECT_API_URL": get_current_settings().api.url}
    subprocess.run(["/bin/sh", "-c", step], env=variables, capture_output=True, check=True)
    assert 300 == client.read_work_pool("etrade").concurrency_limit


def test_deploying_asks_and_warns_of_nothing(deployed: str) -> None:
    """`make deploy` registers all deployments without a question or a warning."""
    assert len(NAMES) == deployed.count("successfully created")
    assert "warning" not in deployed.lower()


@pytest.mark.parametrize("name", NAMES)
def test_the_server_holds_what_the_file_says(
    deployed: str, client: SyncPrefectClient, configured: dict[str, Any], name: str
) -> None:
    """The server has each deployment as the file says; only a pipeline runs where it was deployed from."""
    flow, _, deployment = name.partition("/")
    (wanted,) = (
        each
        for each in configured["deployments"]
        if each["name"] == deployment and each["entrypoint"].endswith(f":{flow.replace('-', '_')}")
    )
    found = client.read_deployment_by_name(name)
    assert version("prefect-etrade") == found.version
    for key in ("description", "parameters", "enforce_parameter_schema", "entrypoint"):
        assert wanted[key] == getattr(found, key)
    assert sorted(wanted["tags"]) == sorted(found.tags)
    in_checkout = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
    assert wanted.get("pull", [in_checkout]) == found.pull_steps
    assert ("etrade", False) == (found.work_pool_name, found.paused)
    limit, options = found.global_concurrency_limit, found.concurrency_options
    kept = limit and {"limit": limit.limit} | options.model_dump(exclude_none=True)
    assert wanted.get("concurrency_limit") == kept
    assert {
        (each["slug"], each["cron"], each["timezone"], each.get("day_or", True))
        for each in wanted.get("schedules", [])
    } == {
        (each.slug, each.schedule.cron, each.schedule.timezone, each.schedule.day_or)
        for each in found.schedules
        if each.active
    }


def test_a_wrong_parameter_is_refused_at_once(deployed: str, run_now: RunNow) -> None:
    """The server refuses a parameter of the wrong type before any run starts."""
    with pytest.raises(PrefectHTTPStatusError, match="'perhaps' is not of type 'boolean'"):
        run_now("renew-access-token/on-demand", force="perhaps")


@pytest.mark.usefixtures("deployed", "quick_flows")
def test_a_run_on_demand_is_linked_to_its_caller(client: SyncPrefectClient) -> None:
    """A run that a flow requests with `run_deployment` shows as that flow's subflow run."""

    @flow
    def pipeline() -> UUID:
        return run_deployment("renew-access-token/on-demand", timeout=0).id

    state = pipeline(return_state=True)
    run = client.read_flow_run(state.result())
    linked = FlowRunFilter.model_validate(
        {"parent_flow_run_id": {"any_": [state.state_details.flow_run_id]}, "id": {"any_": [run.id]}}
    )
    assert [run.id] == [each.id for each in client.read_flow_runs(flow_run_filter=linked)]
    client.delete_flow_run(run.id)


@pytest.mark.essential
def test_a_second_renewal_at_once_is_cancelled_and_callers_are_all_served(
    worker: Path, run_now: RunNow, end_state: EndState, simulator: Simulator, block: str
) -> None:
    """On a worker, one of two hourly runs is cancelled, the runs on demand complete, and one call is made."""
    # Long enough for the runs to overlap, even on a busy machine.
    simulator.plant(Fault(delay=5, when="after"), path=RENEW)
    hourly = [run_now("renew-access-token/hourly", credentials=block) for _ in range(2)]
    on_demand = [run_now("renew-access-token/on-demand", credentials=block) for _ in range(2)]
    assert ["CANCELLED", "COMPLETED"] == sorted(end_state(run).type.value for run in hourly), (
        worker.read_text()
    )
    assert ["COMPLETED", "COMPLETED"] == [end_state(run).type.value for run in on_demand]
    assert [200] == [call.status for call in simulator.calls(RENEW)]


def test_a_pipeline_runs_from_the_checkout(
    worker: Path, run_now: RunNow, end_state: EndState, block: str, tmp_path: Path
) -> None:
    """A worker that was started elsewhere finds an example pipeline in the checkout and runs it."""
    chosen = {"credentials": block, "folder": str(tmp_path), "only_in_market_hours": False}
    state = end_state(run_now("market-quotes/market-hours", **chosen))
    assert state.is_completed(), worker.read_text()
    assert [".parquet"] == [path.suffix for path in tmp_path.rglob("*") if path.is_file()]
