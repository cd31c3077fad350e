"""What the task `renew-session` relies on in Prefect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prefect import Task, flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun

pytestmark = pytest.mark.usefixtures("quick_flows")


@pytest.mark.essential
@pytest.mark.events
def test_a_delay_that_the_condition_puts_is_the_one_that_is_waited(wait_until: Callable[..., None]) -> None:
    """Prefect asks whether to try again before it reads the delay, so the condition may set the delay."""
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

    def retries() -> list[State[Any]]:
        with get_client(sync_client=True) as client:
            states = client.read_task_run_states(runs[0].id)
        return [state for state in states if state.name == "AwaitingRetry"]

    wait_until(lambda: bool(retries()), seconds=60)  # the server hears of task runs later
    (again,) = retries()
    waited = again.state_details.scheduled_time - again.timestamp
    assert waited.total_seconds() < 1
