"""Prevents an alarm every hour: only one scheduled run a day fails because nobody is signed in."""

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
    """The message of a run's state for an error: first line what happened, second line what to do."""
    return f"{' '.join(error.message.split())}\nNext: {error.advice}"


def end_without_sign_in(error: SignInRequired, signed_in_at: datetime | None = None) -> State[Any]:
    """The return value of a flow that found nobody signed in. Scheduled runs then alert once a day.

    The first such run of an Eastern day fails, which alerts. Later ones complete, and say why they did
    nothing. All have the tag `outcome:sign-in-required`. If a session has begun and ended meanwhile, the next
    run alerts again. No run alerts before `ETRADE_SIGN_IN_BY` (07:00 US Eastern by default), or on days that
    are not in `ETRADE_SIGN_IN_DAYS`. In async code, await `asyncio.to_thread(end_without_sign_in, error)`.

    A subflow is a run of its own, and fails each time. So a pipeline that runs every few minutes renews with
    `etrade_client` or `active_session`, not with the flow `renew_access_token`.

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
        error: The error that the run found.
        signed_in_at: When somebody last signed in; None if that is not known.

    Raises:
        SignInRequired: `error` itself, if a person or another flow started the run.
        SessionTooShort: `error` itself: somebody is signed in, and the unfinished work must not look done.
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
        at: The current time.
        alerted_at: When the last run alerted; None if none has.
        well_at: Known times at which there was a session: an earlier alert was about another one.
    """
    return alerted_at is None or alerted_at < max((day_begins(at), *filter(None, well_at)))


def is_scheduled(run: FlowRun | None) -> bool:
    """Whether a schedule started the run, or the run that it retries, and no other flow waits for it."""
    if run is None or run.parent_task_run_id is not None:
        return False
    return run.auto_scheduled or is_second_try(run)


def is_second_try(run: FlowRun) -> bool:
    """Whether the run is the second try of a failed one."""
    return (run.idempotency_key or "").startswith(SECOND_TRY)


def _alerts(run: FlowRun, signed_in_at: datetime | None) -> bool:
    at = now()
    if not renewal_settings().alerts_at(at):
        return False
    alerted_at = _last_end(run, day_begins(at), alerted=True)
    well_at = _last_end(run, alerted_at or day_begins(at), alerted=False)
    return alert_is_due(at, alerted_at=alerted_at, well_at=(signed_in_at, well_at))


def _last_end(run: FlowRun, after: datetime, *, alerted: bool) -> datetime | None:
    """When a run of the same deployment and parameters last alerted, or else had a session; None if none did.

    Args:
        run: The current run.
        after: The earliest end to look at.
        alerted: Whether it failed because nobody was signed in; else it completed with a session.
    """
    wanted = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [run.deployment_id]},
            "state": {"type": {"any_": [StateType.FAILED if alerted else StateType.COMPLETED]}},
            "end_time": {"after_": after},
            "tags": {"all_": [outcome_tag(AttemptOutcome.SIGN_IN_REQUIRED)]} if alerted else None,
        }
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.END_TIME_DESC)
    return next(
        (
            each.end_time
            for each in found
            if each.parameters == run.parameters
            and (outcome_of(each) is AttemptOutcome.SIGN_IN_REQUIRED) == alerted
        ),
        None,
    )
