"""A failed run gets one more run before its next hour, if that can help."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Scheduled, State

from etrade_flows import renew_access_token
from etrade_simulator import Fault, Simulator

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

RENEW = "/oauth/renew_access_token"

RunBySchedule = Callable[..., State[Any]]


def second_tries(run_id: UUID) -> list[FlowRun]:
    """The runs of the same deployment that no schedule has made."""
    with get_client(sync_client=True) as client:
        deployment = client.read_flow_run(run_id).deployment_id
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment]}}),
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": ["SCHEDULED"]}}}),
        )
    return [run for run in runs if not run.auto_scheduled]


def run_now(run: FlowRun) -> State[Any]:
    """Runs this flow run now, before it is due, and returns its final state."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Scheduled(scheduled_time=datetime.now(UTC)), force=True)
        run = client.read_flow_run(run.id)
    return run_flow(renew_access_token, flow_run=run, parameters=run.parameters, return_type="state")


@pytest.fixture
def outage(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes E*TRADE fail every renewal."""
    monkeypatch.setenv("ETRADE_DEADLINE", "0.3")
    simulator.plant(Fault(status=503), path=RENEW, times=99)


@pytest.mark.usefixtures("outage")
def test_failed_renewal_is_tried_again_once(block: str, run_by_schedule: RunBySchedule) -> None:
    """After an outage the same deployment runs once more in ten minutes, and not a third time."""
    failed = run_by_schedule(renew_access_token, block)
    [second] = second_tries(failed.state_details.flow_run_id)
    due_in = second.state.state_details.scheduled_time - datetime.now(UTC)
    assert timedelta(minutes=8) < due_in <= timedelta(minutes=10)
    assert block == second.parameters["credentials"]
    assert run_now(second).is_failed()
    assert [] == second_tries(second.id)


@pytest.mark.usefixtures("outage")
def test_schedule_that_runs_sooner_is_the_second_try(block: str, run_by_schedule: RunBySchedule) -> None:
    """If the deployment's schedule runs again within ten minutes, no run is added."""
    failed = run_by_schedule(renew_access_token, block, every=timedelta(minutes=5))
    assert failed.is_failed()
    assert [] == second_tries(failed.state_details.flow_run_id)


@pytest.mark.usefixtures("outage")
def test_second_try_keeps_the_hours_of_its_schedule(
    simulator: Simulator,
    block: str,
    run_by_schedule: RunBySchedule,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second try after midnight does not alert anybody at night that a sign-in is due."""
    failed = run_by_schedule(renew_access_token, block)
    simulator.advance(timedelta(hours=12))
    monkeypatch.setenv("ETRADE_SIGN_IN_BY", "07:00")
    [second] = second_tries(failed.state_details.flow_run_id)
    assert run_now(second).is_completed()


def test_what_a_person_must_do_is_not_tried_again(
    simulator: Simulator, block: str, run_by_schedule: RunBySchedule
) -> None:
    """There is no second try if only a person can mend the failure, because it would fail too."""
    simulator.plant(Fault(status=401, body="oauth_problem=consumer_key_rejected"), path=RENEW, times=9)
    failed = run_by_schedule(renew_access_token, block)
    assert failed.is_failed()
    assert [] == second_tries(failed.state_details.flow_run_id)
