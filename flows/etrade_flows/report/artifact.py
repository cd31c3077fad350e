"""What an operator sees in the Prefect UI: the run's tags, and one report for each credentials name.

Nothing here may stop a renewal: where the server does not take a tag or a report, a warning says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import CancelledRun, PausedRun

from etrade_flows.news.events import emit_outcome
from etrade_flows.report.day import Attempt, AttemptOutcome, SessionDay
from etrade_flows.report.markdown import render_report
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.endings import current_run, describe
from etrade_flows.runs.history import days_attempts
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError, SessionTooShort, SignInRequired
from etrade_tasks.key_age import key_warning
from etrade_tasks.session import TokenSession


def artifact_key(credentials: str) -> str:
    """The key of the report on these credentials."""
    return f"etrade-session-{credentials}"


def tag_run(credentials: str, environment: str) -> None:
    """Tag the current run with `etrade`, the environment and the credentials' name."""
    run = current_run()
    if run is None:
        return
    tags = {*run.tags, "etrade", environment, credentials}
    with best_effort("The tag could not be written"), get_client(sync_client=True) as client:
        client.update_flow_run(run.id, tags=sorted(tags))


def report(
    credentials: str,
    began_at: datetime,
    outcome: TokenSession | ETradeError,
    loaded: ETradeCredentials | None,
) -> None:
    """Bring the report on these credentials up to date.

    Args:
        credentials: The credentials' name.
        began_at: When this attempt began.
        outcome: What it came to.
        loaded: The credentials themselves, for the time of sign-in; None if they could not be loaded.
    """
    run = current_run()
    if run is None:
        return
    with best_effort("The report could not be written"):
        moment = now()
        attempts = (_this_attempt(outcome, moment, moment - began_at), *_earlier_attempts(run, moment))
        session = outcome if isinstance(outcome, TokenSession) else None
        day = SessionDay(
            signed_in_at=loaded.signed_in_at if loaded else None,
            renewed_at=session.renewed_at if session else None,
            idle_at=session.idle_at if session else None,
            expires_at=loaded.expires_at(moment) if loaded and loaded.signed_in_at else None,
            attempts=attempts,
            advice=outcome.advice if isinstance(outcome, ETradeError) else None,
            notice=key_warning(loaded.consumer_key_issued_on, moment) if loaded else None,
        )
        local = datetime.now(UTC).astimezone().tzinfo
        create_markdown_artifact(
            key=artifact_key(credentials),
            markdown=render_report(credentials, day, moment, local),
            description=f"How the E*TRADE session of {credentials} stands.",
        )


def tell_failure(
    credentials: str, began_at: datetime, error: Exception, loaded: ETradeCredentials | None
) -> None:
    """Report and emit what ends a run, before it is raised again.

    Of an exception that nobody expected only the type is told: its text may hold a secret. A run that was
    cancelled or paused has not failed, and nothing is told of it. Prefect's other signals to a run, Ctrl+C
    and an exit are no `Exception`, and never come here.

    Args:
        credentials: The credentials' name.
        began_at: When this attempt began.
        error: What ends the run.
        loaded: The credentials themselves; None if they could not be loaded.
    """
    if isinstance(error, (CancelledRun, PausedRun)):
        return
    told = error if isinstance(error, ETradeError) else _unexpected(error)
    report(credentials, began_at, told, loaded)
    emit_outcome(credentials, told, loaded)


def _unexpected(error: Exception) -> ETradeError:
    return ETradeError(
        f"An error that nobody expected ended the run ({type(error).__name__}).",
        advice="read the run's log in the Prefect UI (Runs), and run `etrade-session doctor`.",
    )


def _this_attempt(outcome: TokenSession | ETradeError, at: datetime, took: timedelta) -> Attempt:
    if isinstance(outcome, TokenSession):
        done = AttemptOutcome.REUSED if outcome.reused else AttemptOutcome.RENEWED
        return Attempt(at, done, describe(outcome), took)
    return Attempt(at, _why_not(outcome), outcome.message, took)


def _why_not(error: ETradeError) -> AttemptOutcome:
    match error:
        case SessionTooShort():
            return AttemptOutcome.TOO_SHORT
        case SignInRequired():
            return AttemptOutcome.SIGN_IN_REQUIRED
        case _:
            return AttemptOutcome.FAILED


def _earlier_attempts(run: FlowRun, moment: datetime) -> tuple[Attempt, ...]:
    """The day's earlier runs for the same credentials, the latest first."""
    with get_client(sync_client=True) as client:
        return tuple(days_attempts(client, run.name, moment, but=run.id))
