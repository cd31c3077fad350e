"""A second try before the next hour, if E*TRADE or the network kept a scheduled run from renewing.

It is a run of the same deployment, so the same worker or `serve` runs it. Retries of the flow would hold the
deployment's single slot, and a process, while they wait.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.states import Scheduled

from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.names import SECOND_TRY
from etrade_flows.runs.once_a_day import is_scheduled, is_second_try
from etrade_flows.runs.tags import current_run
from etrade_tasks.errors import ETradeError
from etrade_tasks.logs import run_logger

SOON = timedelta(minutes=10)
"""How long after a failure the second try begins: after a short outage, before the token goes idle."""


def try_again_soon(error: ETradeError) -> None:
    """Schedule one more run, if a schedule started this one and trying again can help. There is no third try.

    It schedules none if the deployment has another run as soon.

    Args:
        error: What ended the current run.
    """
    run = current_run()
    if run is None or run.deployment_id is None or not error.retryable:
        return
    if not is_scheduled(run) or is_second_try(run):
        return
    with best_effort("The second try could not be scheduled"), get_client(sync_client=True) as client:
        at = datetime.now(UTC) + SOON
        if _runs_before(client, run.deployment_id, at):
            return
        client.create_flow_run_from_deployment(
            run.deployment_id,
            parameters=run.parameters,
            state=Scheduled(scheduled_time=at, message="A renewal has failed."),
            idempotency_key=f"{SECOND_TRY}{run.id}",
        )
        run_logger().info("A second try is scheduled in %d minutes.", SOON.total_seconds() // 60)


def _runs_before(client: SyncPrefectClient, deployment_id: UUID, at: datetime) -> bool:
    """Whether a run of the deployment is planned to begin by then."""
    planned = {
        "deployment_id": {"any_": [deployment_id]},
        "state": {"type": {"any_": [StateType.SCHEDULED]}},
        "expected_start_time": {"before_": at},
    }
    return bool(client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(planned), limit=1))
