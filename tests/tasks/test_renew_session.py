"""What the task `renew-session` rests on in Prefect."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import Task, flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun

pytestmark = pytest.mark.usefixtures("quick_flows")


@pytest.mark.essential
def test_a_delay_that_the_condition_puts_is_the_one_that_is_waited() -> None:
    """Prefect asks whether to try again before it reads the task's delay, so the answer may set it."""
    runs: list[TaskRun] = []

    def put_a_delay(asked: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
        asked.retry_delay_seconds, asked.retry_jitter_factor = [0.1], 0.0
        runs.append(run)
        return True

    @task(retries=1, retry_delay_seconds=60)
    def fails_at_first() -> None:
        if not runs:
            raise ValueError("as it should")

    @flow
    def waits_for_it() -> None:
        fails_at_first.with_options(retry_condition_fn=put_a_delay)()

    waits_for_it()
    assert 60 == fails_at_first.retry_delay_seconds
    with get_client(sync_client=True) as client:
        (again,) = [
            state
            for state in client.read_task_run_states(runs[0].id)
            if state.state_details.scheduled_time is not None and state.name == "AwaitingRetry"
        ]
    waited = again.state_details.scheduled_time - again.timestamp
    assert waited.total_seconds() < 1
