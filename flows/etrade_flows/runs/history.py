"""What the Prefect server remembers of the day's runs of `renew-access-token`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from etrade_flows.report.day import Attempt, AttemptOutcome
from etrade_flows.runs.endings import RAISED, RENEWED, REUSED, SIGN_IN_REQUIRED
from etrade_tasks.errors import SessionTooShort
from etrade_tasks.session import day_begins

FLOW_NAME = "renew-access-token"

DEFAULT_CREDENTIALS = "etrade"
"""Whom a run renews where neither its parameters nor its schedule say so."""

RUN_NAME = "renew {credentials}"
"""What a run is called once it has begun."""

HISTORY = 60
"""How many of the day's runs are looked at; an hourly schedule makes 23."""

_OUTCOMES = {
    RENEWED: AttemptOutcome.RENEWED,
    REUSED: AttemptOutcome.REUSED,
    SIGN_IN_REQUIRED: AttemptOutcome.SIGN_IN_REQUIRED,
    SessionTooShort.__name__: AttemptOutcome.TOO_SHORT,
}
"""By the state's name or, of a run that raised, the error's."""

_RAISED = re.compile(rf"^{RAISED}(\w+): ")
"""What Prefect puts before an exception's text: these words and the name of its class."""


def days_attempts(
    client: SyncPrefectClient, run_name: str, at: datetime, *, but: UUID | None = None
) -> Iterator[Attempt]:
    """The Eastern day's attempts by runs of that name, the latest first.

    Args:
        client: Asks the server.
        run_name: What the runs are called.
        at: A moment of the day.
        but: The run to leave out.
    """
    ended = FlowRunFilter.model_validate(
        {
            "name": {"any_": [run_name]},
            "state": {"type": {"any_": [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED]}},
            "end_time": {"after_": day_begins(at)},
        }
    )
    runs = client.read_flow_runs(
        flow_filter=renewal_flow(), flow_run_filter=ended, sort=FlowRunSort.END_TIME_DESC, limit=HISTORY
    )
    for run in runs:
        if run.end_time and run.state and run.id != but:
            # Prefect's times are pendulum's, which do not divide by the standard library's.
            ended_at = datetime.fromtimestamp(run.end_time.timestamp(), UTC)
            took = timedelta(seconds=run.total_run_time.total_seconds())
            yield Attempt(ended_at, _outcome(run), _detail(run), took)


def renewal_flow() -> FlowFilter:
    """What finds the flow `renew-access-token`."""
    return FlowFilter.model_validate({"name": {"any_": [FLOW_NAME]}})


def _outcome(run: FlowRun) -> AttemptOutcome:
    assert run.state is not None  # noqa: S101  # for type checkers; the caller has looked
    raised = _RAISED.match(run.state.message or "")
    return _OUTCOMES.get(raised[1] if raised else run.state.name or "", AttemptOutcome.FAILED)


def _detail(run: FlowRun) -> str:
    """What the run said, without the words that Prefect puts before an exception, and without the advice."""
    said = (run.state.message if run.state else None) or ""
    return _RAISED.sub("", said).rsplit(" Next: ", 1)[0]
