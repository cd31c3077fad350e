"""How a run ends in Prefect: with a state that says what was done or what to do."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar, cast

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from etrade_flows.runs.once_a_day import as_message, end_without_sign_in
from etrade_flows.runs.sure_ends import keep_end
from etrade_flows.runs.tags import current_run
from etrade_tasks.errors import ETradeError, SignInRequired
from etrade_tasks.session import TokenSession
from etrade_tasks.words import clock

R = TypeVar("R")


def end_well(message: str, result: R) -> R:
    """The flow's return value for a result: a completed state that says what was done.

    A calling flow gets the state's data, which is the result. Outside a run, this returns the result itself.
    """
    if current_run() is None:
        return result
    return cast("R", Completed(message=message, data=keep_end(result)))


def end_unwell(error: ETradeError, signed_in_at: datetime | None = None) -> State[Any]:
    """The flow's return value for a failure: a failed state, which raises the error in the caller.

    If a flow raises an exception, Prefect writes it as a pickle into the result storage, even if the flow
    persists no results. It does not do so for a state that the flow returns.

    Args:
        error: Why the run failed. If nobody is signed in, see `end_without_sign_in`.
        signed_in_at: When somebody last signed in; None if that is not known.

    Raises:
        ETradeError: `error` itself, outside a run.
    """
    if isinstance(error, SignInRequired):
        with suppress(SignInRequired):  # the caller gets it, as any other error
            return end_without_sign_in(error, signed_in_at)
    if current_run() is None:
        raise error
    return Failed(message=as_message(error), data=keep_end(error))


def describe(session: TokenSession) -> str:
    """What was done, and how long the session lasts, in one sentence."""
    calls = "1 call" if session.attempts == 1 else f"{session.attempts} calls"
    done = "Reused an earlier renewal" if session.reused else f"Renewed in {calls}"
    if session.idle_at >= session.expires_at:
        return f"{done}; good until midnight US Eastern."
    return f"{done}; idle from {clock(session.idle_at)}, expires at {clock(session.expires_at)} US Eastern."


def holds_until(session: TokenSession) -> str:
    """Until when the session lasts if nothing renews it, such as `14:10` or `midnight`."""
    return "midnight" if session.idle_at >= session.expires_at else clock(session.idle_at)
