"""How a run of `renew-access-token` ends in Prefect: named states, and no false alarm every hour."""

from __future__ import annotations

from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from etrade_flows.session_day import clock
from etrade_tasks.clock import now
from etrade_tasks.errors import SessionTooShort, SignInRequired
from etrade_tasks.logs import run_logger
from etrade_tasks.session import EASTERN, TokenSession, day_begins
from etrade_tasks.settings import renewal_settings

RENEWED = "Renewed"
REUSED = "Reused"
SIGN_IN_REQUIRED = SignInRequired.__name__


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


def describe(session: TokenSession) -> str:
    """What was done, and how long it holds, in one sentence."""
    calls = "1 call" if session.attempts == 1 else f"{session.attempts} calls"
    done = "Vouched for by an earlier renewal" if session.reused else f"Renewed in {calls}"
    return f"{done}; idle from {clock(session.idle_at)}, over at {clock(session.expires_at)} US Eastern."


def ends_by_state(error: SignInRequired) -> bool:
    """Whether the current run ends as `end_scheduled_run` says; else it raises.

    A session that is only too short has somebody signed in, and what needs it longer shall not seem done.
    """
    return is_scheduled(current_run()) and not isinstance(error, SessionTooShort)


def end_scheduled_run(error: SignInRequired) -> TokenSession:
    """What the flow returns for a scheduled run that found nobody signed in.

    The first such run of an Eastern day ends as a failure, which alerts; the later ones end as completed
    runs of the same name, which do not. Before `ETRADE_SIGN_IN_BY` no run alerts.
    """
    alert = _alert_is_due(current_run())
    state: State[Any] = (Failed if alert else Completed)(name=SIGN_IN_REQUIRED, message=str(error))
    run_logger().log(40 if alert else 30, "%s", error)
    return cast("TokenSession", state)


def is_scheduled(run: FlowRun | None) -> bool:
    """Whether a schedule started the run, and no other flow waits for its result."""
    return run is not None and run.auto_scheduled and run.parent_task_run_id is None


def _alert_is_due(run: FlowRun | None) -> bool:
    eastern = now().astimezone(EASTERN)
    if run is None or eastern.time() < renewal_settings().sign_in_by:
        return False
    alerted = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [run.deployment_id]},
            "name": {"any_": [run.name]},
            "state": {"type": {"any_": [StateType.FAILED]}, "name": {"any_": [SIGN_IN_REQUIRED]}},
            "end_time": {"after_": day_begins(eastern)},
        }
    )
    with get_client(sync_client=True) as client:
        return not client.read_flow_runs(flow_run_filter=alerted, limit=1)


def _name(session: TokenSession) -> str:
    return REUSED if session.reused else RENEWED
