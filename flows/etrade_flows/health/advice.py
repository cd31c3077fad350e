"""What a person does about a session, depending on how it stands. Pure."""

from __future__ import annotations

from etrade_flows.health.forecast import NextRun
from etrade_flows.health.model import SessionStatus, Source
from etrade_flows.runs.way_in import WayIn
from etrade_tasks.key_age import KEY_ADVICE
from etrade_tasks.session import SessionState


def advice_on(status: SessionStatus, way_in: WayIn | None, *, failing: bool) -> str | None:
    """What a person does next; None if there is nothing to do.

    Args:
        status: How the session stands.
        way_in: Where a person signs in in the Prefect UI; None if no run does that.
        failing: Whether the last known renewal failed.
    """
    if status.state.needs_sign_in:
        return _sign_in(status, way_in)
    if status.error is not None:
        return status.error.advice
    if failing:
        return f"run `etrade-session renew --credentials {status.credentials}`, which says what is wrong."
    return _while_nothing_failed(status)


def _while_nothing_failed(status: SessionStatus) -> str | None:
    if status.state is SessionState.UNKNOWN:
        return f"run `etrade-session status --credentials {status.credentials} --check`, which asks E*TRADE."
    if status.state is SessionState.IDLE:
        wait = ", or wait for the next run" if status.next_runs else ""
        return f"run `etrade-session renew --credentials {status.credentials}`{wait}."
    if late := next((run for run in status.next_runs if run.late), None):
        return _start_worker(late)
    return KEY_ADVICE if status.key_warning else None


def _sign_in(status: SessionStatus, way_in: WayIn | None) -> str:
    if status.source is Source.ENVIRONMENT:
        return (
            "sign in at E*TRADE, and set ETRADE_ACCESS_TOKEN, ETRADE_ACCESS_TOKEN_SECRET and "
            "ETRADE_SIGNED_IN_AT again."
        )
    if way_in is not None:
        return way_in.advice(status.credentials)
    return f"sign in at E*TRADE: run `etrade-session login --credentials {status.credentials}`."


def _start_worker(run: NextRun) -> str:
    if run.work_pool is None:
        return f"start the process that serves the deployment {run.deployment!r}."
    return f"start a worker: `prefect worker start --pool {run.work_pool}`."
