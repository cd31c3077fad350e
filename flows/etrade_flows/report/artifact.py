"""What an operator sees in the Prefect UI: one report for each credentials name.

Nothing here may stop a renewal: if the server does not accept a report, a warning says so.
"""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactCollectionFilter
from prefect.client.schemas.objects import ArtifactCollection, FlowRun

from etrade_flows.report.day import session_day
from etrade_flows.report.markdown import render_report
from etrade_flows.report.overview import Account, render_overview
from etrade_flows.runs.attempts import Attempt, Ending, attempt_outcome
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.endings import describe
from etrade_flows.runs.history import days_attempts
from etrade_flows.runs.tags import current_run
from etrade_tasks.clock import now
from etrade_tasks.errors import CredentialsNotFound, ETradeError
from etrade_tasks.key_age import key_warning
from etrade_tasks.session import TokenSession
from etrade_tasks.sharing.record import Records

OVERVIEW = "etrade-sessions"
"""The key of the artifact that shows all accounts."""


def artifact_key(credentials: str) -> str:
    """The key of the report on these credentials."""
    return f"etrade-session-{credentials}"


def report(ending: Ending) -> None:
    """Update the report on the credentials, unless it already says everything."""
    run = current_run()
    if run is None:
        return
    with best_effort("The report could not be written"):
        if ending.loaded is not None and ending.is_reused:
            record = Records().read(ending.loaded)
            if record.reported == ending.credentials and record.failure is None:
                return  # another run has reported this renewal, and nothing has failed since
        with get_client(sync_client=True) as client:
            _bring_up_to_date(client, run, ending)


def _bring_up_to_date(client: SyncPrefectClient, run: FlowRun, ending: Ending) -> None:
    name, outcome, loaded = ending.credentials, ending.outcome, ending.loaded
    moment, reports = now(), _reports(client)
    if isinstance(outcome, CredentialsNotFound) and name not in reports:
        return  # the name is probably mistyped, and its report would stay among those of the accounts
    attempts = list(days_attempts(client, name, moment, but=run.id))
    if outcome is not None:
        said = describe(outcome) if isinstance(outcome, TokenSession) else outcome.message
        attempts.append(Attempt(moment, attempt_outcome(outcome), said, moment - ending.began_at))
    day = session_day(loaded, moment, attempts, outcome if isinstance(outcome, TokenSession) else None)
    account = Account.of(day, moment, reports[name].metadata_ if name in reports else None)
    if ending.is_reused and name in reports and reports[name].description == account.line:
        return
    text = render_report(
        name,
        day,
        moment,
        datetime.now(UTC).astimezone().tzinfo,
        advice=outcome.advice if isinstance(outcome, ETradeError) else None,
        notice=key_warning(loaded.consumer_key_issued_on, moment) if loaded else None,
    )

    def publish(key: str, line: str, text: str, metadata: dict[str, str] | None = None) -> None:
        said = {"description": line, "data": text, "metadata_": metadata}
        client.create_artifact(ArtifactCreate(key=key, type="markdown", flow_run_id=run.id, **said))

    publish(artifact_key(name), account.line, text, account.metadata())
    accounts = {each: Account.read(report.metadata_) for each, report in reports.items()} | {name: account}
    publish(OVERVIEW, *render_overview({each: known for each, known in accounts.items() if known}, moment))


def _reports(client: SyncPrefectClient) -> dict[str, ArtifactCollection]:
    """The latest report of each credentials name."""
    like = ArtifactCollectionFilter.model_validate({"key": {"like_": artifact_key("%")}})
    found = client.read_latest_artifacts(artifact_filter=like)
    return {report.key.removeprefix(artifact_key("")): report for report in found}
