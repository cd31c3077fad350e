"""Reports a run's result: in its tags and name, in the report, and as an event."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from prefect.exceptions import CancelledRun, PausedRun

from etrade_flows.news.events import call_for_sign_in, emit_outcome
from etrade_flows.report.artifact import report
from etrade_flows.runs.attempts import Ending, attempt_outcome
from etrade_flows.runs.endings import holds_until
from etrade_flows.runs.names import ended_run
from etrade_flows.runs.tags import current_run, tag_run
from etrade_flows.runs.way_in import led_to_sign_in
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError, SignInRequired
from etrade_tasks.session import TokenSession


def tell(ending: Ending) -> None:
    """Report the current run's result; does nothing outside a run."""
    run, outcome, loaded = current_run(), ending.outcome, ending.loaded
    if run is None or outcome is None:
        return
    came_to = attempt_outcome(outcome)
    until = f" until {holds_until(outcome)}" if isinstance(outcome, TokenSession) else ""
    name = ended_run(run.name, ending.credentials, f"{came_to}{until}")
    tag_run(ending.credentials, *([loaded.environment] if loaded else []), outcome=came_to, name=name)
    report(ending)
    emit_outcome(ending.credentials, outcome, loaded)


def tell_signed(what: str, ending: Ending) -> None:
    """Report that a person has signed in or out, in the current run's name and in the report.

    Args:
        what: What the person did, in two words.
        ending: How the run ended.
    """
    run = current_run()
    if run is not None:
        tag_run(name=ended_run(run.name, ending.credentials, what))
    report(ending)


def tell_failure(
    credentials: str, began_at: datetime, error: Exception, loaded: ETradeCredentials | None
) -> ETradeError | None:
    """Report the error that ends the current run, and return the error to raise.

    If nobody is signed in, the error's advice links to the waiting sign-in.

    For an unexpected exception, only the type is reported: its text may contain a secret. A run that was
    cancelled or paused has not failed, so nothing is reported. Prefect's other signals to a run, Ctrl+C and
    an exit are not `Exception`s, and never come here.

    Args:
        credentials: The credentials' name.
        began_at: When this attempt began.
        error: The error that ends the run.
        loaded: The credentials themselves; None if they could not be loaded.
    """
    if isinstance(error, (CancelledRun, PausedRun)):
        return None
    known = error if isinstance(error, ETradeError) else unexpected(error)
    if isinstance(known, SignInRequired) and loaded is not None:
        known = led_to_sign_in(
            known, credentials, loaded, partial(call_for_sign_in, credentials, known, loaded)
        )
    tell(Ending(credentials, began_at, known, loaded))
    return known


def unexpected(error: BaseException) -> ETradeError:
    """The error for an unexpected exception. It names only the type, since the text may contain a secret."""
    return ETradeError(
        f"An unexpected error ended the run ({type(error).__name__}).",
        advice="read the run's log in the Prefect UI (Runs), and run `etrade-session doctor`.",
    )
