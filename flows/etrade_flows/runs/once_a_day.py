"""No false alarm every hour: of the scheduled runs that find nobody signed in, one a day fails."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Completed, Failed

from etrade_flows.runs.attempts import AttemptOutcome
from etrade_flows.runs.names import SECOND_TRY
from etrade_flows.runs.tags import current_run, outcome_of, outcome_tag, tag_run
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, SessionTooShort, SignInRequired
from etrade_tasks.logs import run_logger
from etrade_tasks.session import day_begins
from etrade_tasks.settings import renewal_settings


def as_message(error: ETradeError) -> str:
    """What a run's state says of an error: on the first line what happened, on the second what to do."""
    return f"{' '.join(error.message.split())}\nNext: {error.advice}"


def end_without_sign_in(error: SignInRequired, signed_in_at: datetime | None = None) -> State[Any]:
    """What a flow returns that found nobody signed in: one alert a day, where a schedule started the run.

    The first such run of an Eastern day fails, which alerts; the later ones complete, which does not, and say
    why they did nothing. All are tagged `outcome:sign-in-required`. A session that began meanwhile and has
    ended alerts anew. Before `ETRADE_SIGN_IN_BY`, 07:00 US Eastern unless set, and on other days than
    `ETRADE_SIGN_IN_DAYS` no run alerts. In async code, await it by
    `asyncio.to_thread`.

    A subflow is a run of its own, and fails each time. So a pipeline that runs every few minutes renews by
    `etrade_client` or `active_session`, not by the flow `renew_access_token`.

    Example:
        ```python
        @flow
        def quotes():
            try:
                with etrade_client("etrade") as client:
                    return client.get("/v1/market/quote/AAPL.json").json()
            except SignInRequired as error:
                return end_without_sign_in(error)
        ```

    Args:
        error: What the run found.
        signed_in_at: When somebody last signed in; None if that is not known.

    Raises:
        SignInRequired: `error` itself, where a person or another flow started the run and learns of it so.
        SessionTooShort: `error` itself: somebody is signed in, and what needs it longer shall not seem done.
    """
    run = current_run()
    if run is None or not is_scheduled(run) or isinstance(error, SessionTooShort):
        raise error
    alert = _alerts(run, signed_in_at)
    run_logger().log(40 if alert else 30, "%s", error)
    tag_run(outcome=AttemptOutcome.SIGN_IN_REQUIRED)
    return (Failed if alert else Completed)(message=as_message(error))


def alert_is_due(at: datetime, *, alerted_at: datetime | None, well_at: Iterable[datetime | None]) -> bool:
    """Whether a run that finds nobody signed in at `at` alerts. Pure.

    Args:
        at: The moment to judge by.
        alerted_at: When the last run alerted; None if none has.
        well_at: When there was a session, as far as that is known: an earlier alert was about another one.
    """
    return alerted_at is None or alerted_at < max((day_begins(at), *filter(None, well_at)))


def is_scheduled(run: FlowRun | None) -> bool:
    """Whether a schedule started the run, or the one that it tries again, and no other flow waits for it."""
    if run is None or run.parent_task_run_id is not None:
        return False
    return run.auto_scheduled or is_second_try(run)


def is_second_try(run: FlowRun) -> bool:
    """Whether the run tries again what an earlier one failed at."""
    return (run.idempotency_key or "").startswith(SECOND_TRY)


def _alerts(run: FlowRun, signed_in_at: datetime | None) -> bool:
    at = now()
    if not renewal_settings().alerts_at(at):
        return False
    alerted_at = _last_end(run, day_begins(at), StateType.FAILED, held_up=True)
    well_at = _last_end(run, alerted_at or day_begins(at), StateType.COMPLETED, held_up=False)
    return alert_is_due(at, alerted_at=alerted_at, well_at=(signed_in_at, well_at))


def _last_end(run: FlowRun, after: datetime, kind: StateType, *, held_up: bool) -> datetime | None:
    """When the last run of the same deployment and parameters ended so since `after`; None if none did.

    Args:
        run: The run at hand.
        after: The earliest end to look at.
        kind: How it ended.
        held_up: Whether it found nobody signed in.
    """
    wanted = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [run.deployment_id]},
            "state": {"type": {"any_": [kind]}},
            "end_time": {"after_": after},
            "tags": {"all_": [outcome_tag(AttemptOutcome.SIGN_IN_REQUIRED)]} if held_up else None,
        }
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.END_TIME_DESC)
    return next(
        (
            each.end_time
            for each in found
            if each.parameters == run.parameters
            and (outcome_of(each) is AttemptOutcome.SIGN_IN_REQUIRED) == held_up
        ),
        None,
    )
