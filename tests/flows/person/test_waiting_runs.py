"""The runs that a missing sign-in held up: which of them go on, and how."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import suspend_flow_run
from prefect.states import Paused

from etrade_flows import renew_access_token
from etrade_flows.person.login import store, without_token
from etrade_flows.person.waiting_runs import let_go_on, pause_key
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials, RenewalFailed
from etrade_tasks.clock import use_clock

pytestmark = [pytest.mark.usefixtures("quick_flows", "quick_retries"), pytest.mark.real_time]


@flow
def pipeline(credentials: str) -> str:
    """Needs a session."""
    return renew_access_token(credentials).environment


def deployed(what: Flow[..., Any], credentials: str) -> FlowRun:
    """Deploy this flow, and return a run that waits for a worker."""
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(what), name=credentials)
        return client.create_flow_run_from_deployment(deployment, parameters={"credentials": credentials})


def current(run: FlowRun) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id)


def run_as_a_worker(what: Flow[..., Any], run: FlowRun) -> FlowRun:
    """Run it as a worker would, and return the run as it is then."""
    with suppress(Pause):  # how a suspended run leaves its process
        run_flow(what, flow_run=current(run), return_type="state")
    return current(run)


@pytest.mark.essential
def test_failed_run_goes_on_once_somebody_has_signed_in(
    signed_out: str, credentials: ETradeCredentials
) -> None:
    """A run that failed because nobody was signed in runs again after the sign-in, and completes."""
    run = run_as_a_worker(pipeline, deployed(pipeline, signed_out))
    assert run.state.is_failed()
    store(signed_out, credentials)
    assert [run.name] == let_go_on(signed_out)
    assert "AwaitingRetry" == current(run).state.name
    assert run_as_a_worker(pipeline, run).state.is_completed()
    assert [] == let_go_on(signed_out)


@pytest.mark.essential
def test_suspended_run_is_resumed(signed_out: str) -> None:
    """A worker resumes a run that suspended itself with the sign-in's key."""

    @flow
    def patient(credentials: str) -> None:
        suspend_flow_run(timeout=3600, key=pause_key(credentials))

    run = run_as_a_worker(patient, deployed(patient, signed_out))
    assert run.state.is_paused()
    assert [run.name] == let_go_on(signed_out)
    assert run_as_a_worker(patient, run).state.is_completed()


def test_other_runs_are_left_alone(block: str, credentials: ETradeCredentials) -> None:
    """A run that failed otherwise, has too short a day, waits for something else or renews does not go on."""

    @flow
    def takes_too_long(credentials: str) -> None:
        renew_access_token(credentials, required_for=timedelta(hours=30))

    @flow
    def fails(credentials: str) -> None:
        raise RenewalFailed(f"The session of {credentials!r} was not renewed.")

    @flow
    def waits(credentials: str) -> None:
        suspend_flow_run(timeout=3600, key=f"another-{credentials}")

    run = run_as_a_worker(takes_too_long, deployed(takes_too_long, block))
    assert "SessionTooShort" in run.state.message
    store(block, without_token(credentials))
    for what in (fails, waits, renew_access_token):
        run_as_a_worker(what, deployed(what, block))
    assert [] == let_go_on(block)


def test_run_that_no_sign_in_concerns_is_left_alone(signed_out: str, simulator: Simulator) -> None:
    """A run of other credentials, of an earlier Eastern day or of no deployment does not go on."""
    run = run_as_a_worker(pipeline, deployed(pipeline, signed_out))
    pipeline(signed_out, return_state=True)  # no worker knows its code
    assert [] == let_go_on(f"{signed_out}-other")
    assert [] == let_go_on(signed_out[:-1])
    with use_clock(lambda: simulator.now() + timedelta(days=1)):
        assert [] == let_go_on(signed_out)
    assert [run.name] == let_go_on(signed_out)


def test_run_that_cannot_go_on_is_named(
    signed_out: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server refuses to let a run go on, or its pause is over, a warning names it; others go on."""
    gone, other = (run_as_a_worker(pipeline, deployed(pipeline, signed_out)) for _ in range(2))
    late = deployed(pipeline, signed_out)
    with get_client(sync_client=True) as client:
        over = Paused(timeout_seconds=-60, pause_key=pause_key(signed_out))
        client.set_flow_run_state(late.id, over, force=True)
    set_state = SyncPrefectClient.set_flow_run_state

    def delete_first(client: SyncPrefectClient, run_id: UUID, *arguments: Any, **options: Any) -> Any:
        if run_id == gone.id:
            client.delete_flow_run(run_id)
        return set_state(client, run_id, *arguments, **options)

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", delete_first)
    assert [other.name] == let_go_on(signed_out)
    assert f"The run {gone.name!r} could not go on; look at it in the UI (ObjectNotFound)" in caplog.text
    assert f"The run {late.name!r} could not go on" in caplog.text
