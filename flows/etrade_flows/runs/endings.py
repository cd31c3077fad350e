"""How a run ends in Prefect: with a state that says what was done, or what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from etrade_flows.runs.once_a_day import as_message, end_without_sign_in
from etrade_flows.runs.sure_ends import leave
from etrade_flows.runs.tags import current_run
from etrade_tasks.errors import ETradeError, SignInRequired
from etrade_tasks.session import TokenSession
from etrade_tasks.words import clock


def end_well(session: TokenSession) -> TokenSession:
    """What the flow returns for a session: a completed state that says what was done.

    Prefect hands a calling flow the state's data, which is the session. Outside of a run it is the session
    itself.
    """
    if current_run() is None:
        return session
    return cast("TokenSession", Completed(message=describe(session), data=leave(session)))


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
    return Failed(message=as_message(error), data=leave(error))


def describe(session: TokenSession) -> str:
    """What was done, and how long it holds, in one sentence."""
    calls = "1 call" if session.attempts == 1 else f"{session.attempts} calls"
    done = "Reused an earlier renewal" if session.reused else f"Renewed in {calls}"
    if session.idle_at >= session.expires_at:
        return f"{done}; good until midnight US Eastern."
    return f"{done}; idle from {clock(session.idle_at)}, expires at {clock(session.expires_at)} US Eastern."


def holds_until(session: TokenSession) -> str:
    """Until when the session holds if nothing renews it, as in `14:10` or `midnight`."""
    return "midnight" if session.idle_at >= session.expires_at else clock(session.idle_at)
