"""Finds the runs that wait for a sign-in, and lets them go on once somebody has signed in.

Two kinds of run wait: a deployment's run that failed on this Eastern day because nobody was signed in, and a
run that paused or suspended itself with `pause_key`. A run of an earlier day is left alone, because its time
has passed. So are a renewal, since the next one does the same work, and a run whose session was too short.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Scheduled

from etrade_flows.runs.attempts import AttemptOutcome
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.names import RENEWAL, flow_called
from etrade_flows.runs.tags import outcome_tag
from etrade_tasks.clock import now
from etrade_tasks.logs import run_logger
from etrade_tasks.session import day_begins

LIMIT = 200
"""How many failed and how many paused runs are checked; the server returns no more at once."""


def pause_key(credentials: str) -> str:
    """The key with which a run pauses or suspends itself until somebody has signed in.

    Example:
        ```python
        try:
            renew_access_token("etrade")
        except SignInRequired:
            suspend_flow_run(timeout=36_000, key=pause_key("etrade"))
            renew_access_token("etrade")
        ```
    """
    return f"etrade-sign-in-{credentials}"


def let_go_on(credentials: str) -> list[str]:
    """Run again or resume the runs that waited for a sign-in to these credentials, and return their names.

    If Prefect does not let a run go on, a warning names it.
    """
    gone_on = []
    with get_client(sync_client=True) as client:
        for run in [*_failed(client, credentials), *_paused(client, credentials)]:
            stuck = f"The run {run.name!r} could not go on; look at it in the UI"
            with best_effort(stuck):
                if _goes_on(client, run):
                    gone_on.append(run.name)
                else:
                    run_logger().warning("%s.", stuck)
    return gone_on


def _failed(client: SyncPrefectClient, credentials: str) -> Iterator[FlowRun]:
    """The runs of deployments that failed today because nobody was signed in to these credentials."""
    held_up = FlowRunFilter.model_validate(
        {
            "tags": {"all_": [credentials, outcome_tag(AttemptOutcome.SIGN_IN_REQUIRED)]},
            "state": {"type": {"any_": [StateType.FAILED]}},
            "end_time": {"after_": day_begins(now())},
        }
    )
    renewals = {flow.id for flow in client.read_flows(flow_filter=flow_called(RENEWAL))}
    seen = set()
    for found in client.read_flow_runs(flow_run_filter=held_up, limit=LIMIT):
        run = _outermost(client, found)
        waits = run.deployment_id is not None and run.state is not None and run.state.is_failed()
        if waits and run.flow_id not in renewals and run.id not in seen:
            seen.add(run.id)
            yield run


def _outermost(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """The outermost run that called this one, directly or through others; the run itself if none did."""
    while run.parent_task_run_id is not None:
        called_by = client.read_task_run(run.parent_task_run_id).flow_run_id
        if called_by is None:
            break
        run = client.read_flow_run(called_by)
    return run


def _paused(client: SyncPrefectClient, credentials: str) -> Iterator[FlowRun]:
    """The runs that paused or suspended themselves until somebody signs in to these credentials."""
    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.PAUSED]}}})
    for run in client.read_flow_runs(flow_run_filter=wanted, limit=LIMIT):
        if run.state and run.state.state_details.pause_key == pause_key(credentials):
            yield run


def _goes_on(client: SyncPrefectClient, run: FlowRun) -> bool:
    if run.state and run.state.is_paused():
        return client.resume_flow_run(run.id).status is SetStateStatus.ACCEPT
    # As the UI's Retry does: the same run again, with its parameters and its history.
    again: State[Any] = Scheduled(name="AwaitingRetry", message="Somebody has signed in at E*TRADE.")
    return client.set_flow_run_state(run.id, again).status is SetStateStatus.ACCEPT
