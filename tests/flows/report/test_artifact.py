"""What the flow leaves in Prefect for an operator: messages, tags and a report."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import State

from etrade_flows import active_session, renew_access_token
from etrade_flows.person.login import store
from etrade_flows.report.artifact import OVERVIEW, artifact_key
from etrade_flows.report.overview import DAYS, Account, DayMarks
from etrade_flows.runs.attempts import AttemptOutcome
from etrade_flows.runs.tags import outcome_of
from etrade_flows.sign_in import sign_in
from etrade_flows.sign_out import sign_out
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, RenewalFailed, SessionTooShort, SignInRequired, TokenSession
from etrade_tasks.session import eastern_date

pytestmark = [pytest.mark.usefixtures("quick_flows", "quick_retries"), pytest.mark.real_time]

RENEWED, REUSED, SIGN_IN_REQUIRED, *_ = AttemptOutcome
RENEW = "/oauth/renew_access_token"
REFUSAL = Fault(status=401, body="oauth_problem=token_rejected")


def run_of(state: State[Any]) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id)


def shown(block: str) -> str:
    """The latest report on the credentials of that name."""
    return Artifact.get(artifact_key(block)).data


def outcomes_in(report: str) -> list[str]:
    """The outcomes in the table of attempts, latest first."""
    return re.findall(r"^\| \d\d:\d\d \| \S (.*?) \|", report.replace("\u00a0", " "), re.MULTILINE)


@pytest.mark.essential
def test_a_run_says_what_it_did(simulator: Simulator, block: str) -> None:
    """A run says in its tags, message and name what it did; a name that a user gave it stays."""
    first, second = (renew_access_token(block, return_state=True) for _ in range(2))
    simulator.plant(REFUSAL, path=RENEW)
    third = renew_access_token(block, force=True, return_state=True)
    runs = [run_of(state) for state in (first, second, third)]
    assert [RENEWED, REUSED, SIGN_IN_REQUIRED] == [outcome_of(run) for run in runs]
    assert {"etrade", "live", block, "outcome:renewed"} == set(runs[0].tags)
    pattern = rf"renew {block}: (renewed|reused) until (\d\d:\d\d|midnight)"
    assert ["renewed", "reused"] == [re.fullmatch(pattern, run.name)[1] for run in runs[:2]]
    assert f"renew {block}: sign-in required" == runs[2].name
    # In the last two hours of a day a session is good until midnight.
    holds = r"idle from \d\d:\d\d, expires at 00:00|good until midnight"
    assert re.fullmatch(rf"Renewed in 1 call; ({holds}) US Eastern\.", first.message)
    assert isinstance(second.result(), TokenSession)
    named = run_of(renew_access_token.with_options(flow_run_name="mine: first")(block, return_state=True))
    assert ("mine: first", RENEWED) == (named.name, outcome_of(named))


def reports(block: str) -> int:
    """How many reports on these credentials the server keeps."""
    wanted = ArtifactFilter.model_validate({"key": {"any_": [artifact_key(block)]}})
    with get_client(sync_client=True) as client:
        return len(client.read_artifacts(artifact_filter=wanted))


def test_a_renewal_that_no_run_made_is_reported_once(simulator: Simulator, block: str) -> None:
    """The first run that reuses a renewal of `active_session` reports it, and later runs do not."""
    active_session(block)
    for _ in range(2):
        renew_access_token(block)
    assert 1 == reports(block)


@pytest.mark.essential
def test_the_report_tells_how_the_session_stands(simulator: Simulator, block: str) -> None:
    """Each run updates one report, which shows how the session stands, its day and the day's attempts."""
    session = renew_access_token(block)
    text = shown(block)
    assert "## ✅ active: good until midnight US Eastern" == text.splitlines()[0]
    assert f"{session.expires_at.astimezone():%H:%M}" in text
    picture = re.search(r"!\[[^\]]+\]\(data:image/svg\+xml;base64,([^)]+)\)", text)[1]
    assert base64.b64decode(picture).lstrip().startswith(b"<")
    renew_access_token(block)
    assert 1 == reports(block)  # a reused renewal is in it already
    with pytest.raises(SessionTooShort):
        renew_access_token(block, required_for=timedelta(hours=30))
    assert "## ✅ active: good until midnight US Eastern" == shown(block).splitlines()[0]
    simulator.plant(REFUSAL, path=RENEW)
    with pytest.raises(SignInRequired):
        renew_access_token(block, force=True)
    text = shown(block).replace("\u00a0", " ")
    assert "sign-in required" in text.splitlines()[0]
    assert "**Next:** sign in " in text
    assert ["sign-in required", "too short", "renewed", "signed in"] == outcomes_in(text)
    assert "Reused once since, last at" in text


def test_a_failure_is_shown_until_a_renewal_answers(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed renewal is reported with E*TRADE's answer until the next run, even if that reuses one."""
    renew_access_token(block)
    monkeypatch.setenv("ETRADE_DEADLINE", "0.2")
    monkeypatch.setenv("ETRADE_FIRST_BACKOFF", "5")
    simulator.plant(Fault(status=500), path=RENEW)
    with pytest.raises(RenewalFailed):
        renew_access_token(block, force=True)
    text = shown(block)
    assert "❌ failing" in text.splitlines()[0]
    assert "status 500" in text
    assert re.search(r"^\| renewed \| \d\d:\d\d \|", text, re.MULTILINE)
    renew_access_token(block)
    assert "✅ active" in shown(block).splitlines()[0]


def test_age_of_the_consumer_key_is_told(
    simulator: Simulator, block: str, credentials: ETradeCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """From thirty days before the key is two years old, the log and the report of a successful run say so."""
    issued = (simulator.now() - timedelta(days=705)).date()
    store(block, credentials.model_copy(update={"consumer_key_issued_on": issued}))
    assert renew_access_token(block, return_state=True).is_completed()
    assert "The consumer key will be two years old in" in shown(block)
    assert "request a new consumer key" in caplog.text


def test_signing_out_and_in_is_reported_at_once(simulator: Simulator, block: str, person: Any) -> None:
    """A sign-out and a sign-in update the report and name their runs; a sign-out is no refusal."""
    renew_access_token(block)
    assert f"sign out {block}: signed out" == run_of(sign_out(block, return_state=True)).name
    with pytest.raises(SignInRequired):
        renew_access_token(block)
    text = shown(block)
    assert "## ⛔ signed out: nobody is signed in" == text.splitlines()[0]
    assert "refused" not in text
    assert re.search(r"^\| ended by \| \d\d:\d\d \|", text, re.MULTILINE)
    person.answers()
    assert f"sign in {block}: signed in" == run_of(sign_in(block, return_state=True)).name
    assert "✅ active" in shown(block).splitlines()[0]


def test_all_accounts_are_in_one_overview(
    simulator: Simulator, block: str, credentials: ETradeCredentials
) -> None:
    """Each report also updates the overview, which lists two names of one token separately."""
    credentials.save(f"{block[:50]}-b", overwrite=True)
    for name in (block, f"{block[:50]}-b"):
        renew_access_token(name)
    overview = Artifact.get(OVERVIEW)
    for name in (block, f"{block[:50]}-b"):
        assert f"| {name} | ✅ active: good until midnight US Eastern; renewed" in overview.data
        assert "✅ active: good until midnight" in Artifact.get(artifact_key(name)).description
    assert re.fullmatch(r"\S+ \d+ of \d+ sessions are good", overview.description)


def test_four_weeks_are_kept_though_prefect_cuts_what_is_long(simulator: Simulator, block: str) -> None:
    """A report keeps the marks of the last four weeks, however much happened on each day."""
    busy = DayMarks(active=tuple((n / 48, n / 48 + 0.01) for n in range(48)), failed=(0.1234567, 0.2345678))
    today = eastern_date(datetime.now(UTC))
    before = Account(line="", days={today - timedelta(days=ago): busy for ago in range(1, DAYS)})
    with get_client(sync_client=True) as client:
        client.create_artifact(ArtifactCreate(key=artifact_key(block), metadata_=before.metadata()))
        renew_access_token(block)
        wanted = ArtifactCollectionFilter.model_validate({"key": {"any_": [artifact_key(block)]}})
        [latest] = client.read_latest_artifacts(artifact_filter=wanted)
    after = Account.read(latest.metadata_)
    assert before.days == {day: marks for day, marks in after.days.items() if day != today}
    assert "✅" in after.line


def test_report_that_cannot_be_written_stops_nothing(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the server rejects the report, the renewal still succeeds, and a warning says so."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("prefect.client.orchestration.SyncPrefectClient.create_artifact", refuse)
    assert renew_access_token(block).reused is False
    assert "The report could not be written (ConnectionError)." in caplog.text


def test_only_the_first_scheduled_run_of_a_day_fails(
    simulator: Simulator, block: str, credentials_for: Any, run_by_schedule: Callable[..., State[Any]]
) -> None:
    """If a session is over, the day's first scheduled run fails and so alerts; the next says what to do."""
    token = simulator.sign_in("live", issued_at=datetime.now(UTC) - timedelta(days=2))
    store(block, credentials_for(token))
    states = [run_by_schedule(renew_access_token, block) for _ in range(2)]
    assert [SIGN_IN_REQUIRED] * 2 == [outcome_of(run_of(state)) for state in states]
    assert [True, False] == [state.is_failed() for state in states]
    assert "Next: sign in" in states[1].message
    assert [] == simulator.calls(RENEW)
