"""Reports what a run came to: in its tags, in the report, and as an event."""

from __future__ import annotations

from datetime import datetime

from prefect.exceptions import CancelledRun, PausedRun

from etrade_flows.news.events import emit_outcome
from etrade_flows.report.artifact import report
from etrade_flows.runs.attempts import attempt_outcome
from etrade_flows.runs.tags import tag_run
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError
from etrade_tasks.session import TokenSession


def tell(
    credentials: str,
    began_at: datetime,
    outcome: TokenSession | ETradeError,
    loaded: ETradeCredentials | None,
) -> None:
    """Report what the current run came to; outside of a run, nothing.

    Args:
        credentials: The credentials' name.
        began_at: When this attempt began.
        outcome: What it came to.
        loaded: The credentials themselves; None if they could not be loaded.
    """
    tag_run(credentials, *([loaded.environment] if loaded else []), outcome=attempt_outcome(outcome))
    report(credentials, began_at, outcome, loaded)
    emit_outcome(credentials, outcome, loaded)


def tell_failure(
    credentials: str, began_at: datetime, error: Exception, loaded: ETradeCredentials | None
) -> None:
    """Report what ends the current run, before it is raised again.

    Of an unexpected exception only the type is reported: its text may hold a secret. A run that was cancelled
    or paused has not failed, so nothing is reported. Prefect's other signals to a run, Ctrl+C and an exit are
    not `Exception`s, and never come here.

    Args:
        credentials: The credentials' name.
        began_at: When this attempt began.
        error: What ends the run.
        loaded: The credentials themselves; None if they could not be loaded.
    """
    if isinstance(error, (CancelledRun, PausedRun)):
        return
    tell(credentials, began_at, error if isinstance(error, ETradeError) else _unexpected(error), loaded)


def _unexpected(error: Exception) -> ETradeError:
    return ETradeError(
        f"An error that nobody expected ended the run ({type(error).__name__}).",
        advice="read the run's log in the Prefect UI (Runs), and run `etrade-session doctor`.",
    )
