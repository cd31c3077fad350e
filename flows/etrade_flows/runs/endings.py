"""How a run ends in Prefect: named states, and no false alarm every hour."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from etrade_flows.report.day import clock
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, SessionTooShort, SignInRequired
from etrade_tasks.logs import run_logger
from etrade_tasks.session import EASTERN, TokenSession, day_begins
from etrade_tasks.settings import renewal_settings

RENEWED = "Renewed"
REUSED = "Reused"
COMPLETED = "Completed"
"""What Prefect calls the end of a run that gave no state of its own."""
SIGN_IN_REQUIRED = SignInRequired.__name__
RAISED = "Flow run encountered an exception: "
"""What Prefect puts before the name and the text of an exception that ended a run."""


def current_run() -> FlowRun | None:
    """The flow run that the code is part of; None outside of any."""
    context = FlowRunContext.get()
    return context.flow_run if context else None


def end_well(session: TokenSession) -> TokenSession:
    """What the flow returns for a session: a completed state that says what was done.

    Prefect hands a calling flow the state's data, which is the session. Outside of a run it is the session
    itself.
    """
    if current_run() is None:
        return session
    return cast("TokenSession", Completed(name=_name(session), message=describe(session), data=session))


def end_unwell(error: ETradeError, signed_in_at: datetime | None) -> State[Any]:
    """What the flow returns for a failure: a failed state, which raises the error for who called the flow.

    Of an exception that a flow raises, Prefect writes a pickle into the result storage, whatever the flow
    says about results. It writes none of a state that the flow returns.

    Args:
        error: What the run found. Where that is that nobody is signed in, see `end_without_sign_in`.
        signed_in_at: When somebody last signed in; None if that is not known.

    Raises:
        ETradeError: `error` itself, outside of a run.
    """
    try:
        if isinstance(error, SignInRequired):
            return end_without_sign_in(error, signed_in_at)
    except SignInRequired:
        pass  # it is told to who waits for the run, as every other error is
    if current_run() is None:
        raise error
    return Failed(message=f"{RAISED}{type(error).__name__}: {error}", data=error)


def describe(session: TokenSession) -> str:
    """What was done, and how long it holds, in one sentence."""
    calls = "1 call" if session.attempts == 1 else f"{session.attempts} calls"
    done = "Vouched for by an earlier renewal" if session.reused else f"Renewed in {calls}"
    return f"{done}; idle from {clock(session.idle_at)}, over at {clock(session.expires_at)} US Eastern."


def end_without_sign_in(error: SignInRequired, signed_in_at: datetime | None = None) -> State[Any]:
    """What a flow returns that found nobody signed in: one alert a day, where a schedule started the run.

    The first such run of an Eastern day ends as a failure named `SignInRequired`, which alerts; the later
    ones end as completed runs of that name, which do not. A session that began meanwhile and has ended alerts
    anew. Before `ETRADE_SIGN_IN_BY` no run alerts. In async code, await it by `asyncio.to_thread`.

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
    return (Failed if alert else Completed)(name=SIGN_IN_REQUIRED, message=str(error))


def alert_is_due(
    at: datetime, *, sign_in_by: time, alerted_at: datetime | None, well_at: Iterable[datetime | None]
) -> bool:
    """Whether a run that finds nobody signed in at `at` alerts. Pure.

    Args:
        at: The moment to judge by.
        sign_in_by: Before this time US Eastern no run alerts.
        alerted_at: When the last run alerted; None if none has.
        well_at: When there was a session, as far as that is known: an alert of before is of another one.
    """
    if at.astimezone(EASTERN).time() < sign_in_by:
        return False
    return alerted_at is None or alerted_at < max((day_begins(at), *filter(None, well_at)))


def is_scheduled(run: FlowRun | None) -> bool:
    """Whether a schedule started the run, and no other flow waits for its result."""
    return run is not None and run.auto_scheduled and run.parent_task_run_id is None


def _alerts(run: FlowRun, signed_in_at: datetime | None) -> bool:
    at = now()
    alerted_at = _last_end(run, at, StateType.FAILED, SIGN_IN_REQUIRED)
    well_at = _last_end(run, at, StateType.COMPLETED, RENEWED, REUSED, COMPLETED)
    sign_in_by = renewal_settings().sign_in_by
    return alert_is_due(at, sign_in_by=sign_in_by, alerted_at=alerted_at, well_at=(signed_in_at, well_at))


def _last_end(run: FlowRun, at: datetime, kind: StateType, *names: str) -> datetime | None:
    """When the day's last run of the same deployment and parameters ended so; None if none did."""
    wanted = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [run.deployment_id]},
            "state": {"type": {"any_": [kind]}, "name": {"any_": names}},
            "end_time": {"after_": day_begins(at)},
        }
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.END_TIME_DESC)
    return next((each.end_time for each in found if each.parameters == run.parameters), None)


def _name(session: TokenSession) -> str:
    return REUSED if session.reused else RENEWED
