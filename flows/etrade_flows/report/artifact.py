"""What an operator sees in the Prefect UI: one report for each credentials name.

Nothing here may stop a renewal: where the server does not take a report, a warning says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from etrade_flows.report.day import session_day
from etrade_flows.report.markdown import render_report
from etrade_flows.runs.attempts import Attempt, attempt_outcome
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.endings import describe
from etrade_flows.runs.history import days_attempts
from etrade_flows.runs.tags import current_run
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ETradeError
from etrade_tasks.key_age import key_warning
from etrade_tasks.session import TokenSession


def artifact_key(credentials: str) -> str:
    """The key of the report on these credentials."""
    return f"etrade-session-{credentials}"


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
        attempts = (
            _this_attempt(outcome, moment, moment - began_at),
            *_earlier_attempts(credentials, run, moment),
        )
        record = outcome if isinstance(outcome, TokenSession) else None
        day = session_day(loaded, moment, attempts, record)
        local = datetime.now(UTC).astimezone().tzinfo
        create_markdown_artifact(
            key=artifact_key(credentials),
            markdown=render_report(
                credentials,
                day,
                moment,
                local,
                advice=outcome.advice if isinstance(outcome, ETradeError) else None,
                notice=key_warning(loaded.consumer_key_issued_on, moment) if loaded else None,
            ),
            description=f"How the E*TRADE session of {credentials} stands.",
        )


def _this_attempt(outcome: TokenSession | ETradeError, at: datetime, took: timedelta) -> Attempt:
    said = describe(outcome) if isinstance(outcome, TokenSession) else outcome.message
    return Attempt(at, attempt_outcome(outcome), said, took)


def _earlier_attempts(credentials: str, run: FlowRun, moment: datetime) -> tuple[Attempt, ...]:
    """The day's earlier runs for the same credentials, the latest first."""
    with get_client(sync_client=True) as client:
        return tuple(days_attempts(client, credentials, moment, but=run.id))
