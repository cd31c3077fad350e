"""Reads the day's runs of `renew-access-token` from the Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_flows.runs.names import RENEWAL, flow_called, is_called, renewal_run
from etrade_flows.runs.tags import outcome_of
from etrade_tasks.session import day_begins

HISTORY = 200
"""How many of the day's runs are read, which is what the server returns at once."""


def days_attempts(
    client: SyncPrefectClient, credentials: str, at: datetime, *, but: UUID | None = None
) -> Iterator[Attempt]:
    """The Eastern day's attempts for these credentials, the latest first.

    Args:
        client: The server's client.
        credentials: The credentials' name.
        at: A time on that day.
        but: The run to leave out.
    """
    ended = FlowRunFilter.model_validate(
        {
            "name": {"like_": renewal_run(credentials)},
            "state": {"type": {"any_": [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED]}},
            "end_time": {"after_": day_begins(at)},
        }
    )
    runs = client.read_flow_runs(
        flow_filter=flow_called(RENEWAL), flow_run_filter=ended, sort=FlowRunSort.END_TIME_DESC, limit=HISTORY
    )
    for run in runs:
        theirs = is_called(run.name, renewal_run(credentials))  # no filter tells `etrade` from `etrade-2`
        if theirs and run.end_time and run.state and run.id != but:
            # A run without a tag made no known use of the token.
            untagged = AttemptOutcome.REUSED if run.state.is_completed() else AttemptOutcome.FAILED
            said = (run.state.message or "").partition("\n")[0]  # what happened, without the advice
            # Prefect's times are pendulum's, which cannot be divided by the standard library's.
            ended_at = datetime.fromtimestamp(run.end_time.timestamp(), UTC)
            took = timedelta(seconds=run.total_run_time.total_seconds())
            yield Attempt(ended_at, outcome_of(run) or untagged, said, took)
