"""What the flow leaves in Prefect for an operator: messages, tags and a report."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import State

from etrade_flows import active_session, renew_access_token
from etrade_flows.person.login import stored_credentials
from etrade_flows.report.artifact import OVERVIEW, artifact_key
from etrade_flows.report.overview import DAYS, Account, DayMarks
from etrade_flows.runs.attempts import AttemptOutcome
from etrade_flows.runs.once_a_day import alert_is_due
from etrade_flows.runs.tags import outcome_of
from etrade_flows.sign_in import sign_in
from etrade_flows.sign_out import end_session, sign_out
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, RenewalFailed, SessionTooShort, SignInRequired, TokenSession
from etrade_tasks.session import EASTERN, eastern_date

pytestmark = [pytest.mark.usefixtures("quick_flows", "quick_retries"), pytest.mark.real_time]

Scheduled = Callable[..., State[Any]]

RENEWED, REUSED, SIGN_IN_REQUIRED, _, TOO_SHORT = AttemptOutcome
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
def test_runs_say_renewed_or_reused(simulator: Simulator, block: str) -> None:
    """Tags tell a renewal from a reuse, and the state's message says how long the session is good."""
    first, second = (renew_access_token(block, return_state=True) for _ in range(2))
    assert ["Completed", "Completed"] == [state.name for state in (first, second)]
    assert [AttemptOutcome.RENEWED, AttemptOutcome.REUSED] == [outcome_of(run_of(s)) for s in (first, second)]
    # In the last two hours of a day a session is good until midnight.
    holds = r"idle from \d\d:\d\d, expires at 00:00|good until midnight"
    assert re.fullmatch(rf"Renewed in 1 call; ({holds}) US Eastern\.", first.message)
    assert isinstance(second.result(), TokenSession)


def test_calling_the_function_itself_gives_the_session(simulator: Simulator, block: str) -> None:
    """Outside of any run the flow's own function returns the session, not a state."""
    assert isinstance(renew_access_token.fn(block), TokenSession)


def test_run_says_in_its_name_what_it_came_to(simulator: Simulator, block: str) -> None:
    """A run's name says what the run did and how long the session is good."""
    names = [run_of(renew_access_token(block, return_state=True)).name for _ in range(2)]
    simulator.plant(REFUSAL, path=RENEW)
    names.append(run_of(renew_access_token(block, force=True, return_state=True)).name)
    pattern = rf"renew {block}: (renewed|reused) until (\d\d:\d\d|midnight)"
    assert ["renewed", "reused"] == [re.fullmatch(pattern, name)[1] for name in names[:2]]
    assert f"renew {block}: sign-in required" == names[2]


def test_a_name_that_a_user_gave_stays(simulator: Simulator, block: str) -> None:
    """A run keeps the name that a user gave it, and still gets its tags."""
    state = renew_access_token.with_options(flow_run_name="mine: first")(block, return_state=True)
    assert ("mine: first", AttemptOutcome.RENEWED) == (run_of(state).name, outcome_of(run_of(state)))


def reports(block: str) -> int:
    """How many reports on these credentials the server keeps."""
    wanted = ArtifactFilter.model_validate({"key": {"any_": [artifact_key(block)]}})
    with get_client(sync_client=True) as client:
        return len(client.read_artifacts(artifact_filter=wanted))


def test_a_reused_renewal_writes_no_report(simulator: Simulator, block: str) -> None:
    """Two runs that reuse a renewal add no report to the one that reports it."""
    for _ in range(3):
        renew_access_token(block)
    assert 1 == reports(block)


def test_a_renewal_that_no_run_made_is_reported_once(simulator: Simulator, block: str) -> None:
    """The first run that reuses a renewal of `active_session` reports it, and later runs do not."""
    active_session(block)
    for _ in range(3):
        renew_access_token(block)
    assert 1 == reports(block)


def test_a_failure_is_no_longer_shown_once_a_renewal_answers(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a forced renewal fails, the next run that reuses the earlier one reports an active session."""
    renew_access_token(block)
    monkeypatch.setenv("ETRADE_DEADLINE", "0.2")
    monkeypatch.setenv("ETRADE_FIRST_BACKOFF", "5")
    simulator.plant(Fault(status=500), path=RENEW)
    renew_access_token(block, force=True, return_state=True)
    assert "❌ failing" in shown(block).splitlines()[0]
    renew_access_token(block)
    assert "✅ active" in shown(block).splitlines()[0]


def test_run_is_tagged(simulator: Simulator, block: str) -> None:
    """The run's tags are `etrade`, its environment, the name of its credentials, and its outcome."""
    state = renew_access_token(block, return_state=True)
    assert {"etrade", "live", block, "outcome:renewed"} == set(run_of(state).tags)


@pytest.mark.essential
def test_report_tells_how_the_session_stands(simulator: Simulator, block: str) -> None:
    """After a renewal the report says active, shows the clocks, the attempt and the picture of the day."""
    session = renew_access_token(block)
    text = shown(block)
    assert "active" in text.splitlines()[0]
    assert f"{session.expires_at.astimezone():%H:%M}" in text
    assert "renewed" in text
    picture = re.search(r"!\[[^\]]+\]\(data:image/svg\+xml;base64,([^)]+)\)", text)[1]
    assert base64.b64decode(picture).lstrip().startswith(b"<")


def test_age_of_the_consumer_key_is_told(
    simulator: Simulator, block: str, credentials: ETradeCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """From thirty days before the key is two years old, the log and the report of a successful run say so."""
    issued = (simulator.now() - timedelta(days=705)).date()
    credentials.model_copy(update={"consumer_key_issued_on": issued}).save(block, overwrite=True)
    assert renew_access_token(block, return_state=True).is_completed()
    assert "The consumer key will be two years old in" in shown(block)
    assert "request a new consumer key" in caplog.text


def test_report_has_one_key_and_is_kept_up_to_date(simulator: Simulator, block: str) -> None:
    """Each run updates the same report, which lists the day's earlier attempts too."""
    renew_access_token(block)
    renew_access_token(block)
    simulator.plant(REFUSAL, path=RENEW)
    with pytest.raises(SignInRequired):
        renew_access_token(block, force=True)
    text = shown(block).replace("\u00a0", " ")
    assert "sign-in required" in text.splitlines()[0]
    assert "**Next:** sign in " in text
    assert ["sign-in required", "renewed", "signed in"] == outcomes_in(text)
    assert "Reused once since, last at" in text


def test_sign_out_is_no_refusal(simulator: Simulator, block: str) -> None:
    """After a sign-out the report says signed out, and does not mention a refusal."""
    renew_access_token(block)
    end_session(block, stored_credentials(block))
    with pytest.raises(SignInRequired):
        renew_access_token(block)
    text = shown(block)
    assert "## ⛔ signed out: nobody is signed in" == text.splitlines()[0]
    assert "refused" not in text
    assert re.search(r"^\| over by \| \d\d:\d\d \|", text, re.MULTILINE)


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


def test_signing_out_and_in_is_reported_at_once(simulator: Simulator, block: str, person: Any) -> None:
    """A sign-out and a sign-in update the report and name their runs without waiting for a renewal."""
    renew_access_token(block)
    assert f"sign out {block}: signed out" == run_of(sign_out(block, return_state=True)).name
    assert "⛔ signed out" in shown(block).splitlines()[0]
    person.answers()
    assert f"sign in {block}: signed in" == run_of(sign_in(block, return_state=True)).name
    assert "✅ active" in shown(block).splitlines()[0]


def test_session_too_short_for_a_pipeline_is_told_as_that(simulator: Simulator, block: str) -> None:
    """A session that is too short for a pipeline stays active in that run's report and in the next one's."""
    renew_access_token(block)
    with pytest.raises(SessionTooShort):
        renew_access_token(block, required_for=timedelta(hours=30))
    own = shown(block)
    renew_access_token(block)
    assert ["too short", "renewed", "signed in"] == outcomes_in(own)
    assert own == shown(block)
    assert "## ✅ active: good until midnight US Eastern" == own.splitlines()[0]


def test_failure_is_reported_with_what_was_answered(
    simulator: Simulator, block: str, monkeypatch: Any
) -> None:
    """The report of a failed renewal says failing, with E*TRADE's answer and the last renewal."""
    renew_access_token(block)
    monkeypatch.setenv("ETRADE_DEADLINE", "0.2")
    monkeypatch.setenv("ETRADE_FIRST_BACKOFF", "5")
    simulator.plant(Fault(status=500), path=RENEW)
    with pytest.raises(RenewalFailed):
        renew_access_token(block, force=True)
    text = shown(block)
    assert "failing" in text.splitlines()[0]
    assert "status 500" in text
    assert re.search(r"^\| renewed \| \d\d:\d\d \|", text, re.MULTILINE)


def test_report_that_cannot_be_written_stops_nothing(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the server rejects the report, the renewal still succeeds, and a warning says so."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("prefect.client.orchestration.SyncPrefectClient.create_artifact", refuse)
    assert renew_access_token(block).reused is False
    assert "The report could not be written (ConnectionError)." in caplog.text


def at(hour: int) -> datetime:
    """This full hour of an Eastern day; a negative hour is on the day before."""
    return datetime(2027, 6, 15, tzinfo=EASTERN) + timedelta(hours=hour)


@pytest.mark.parametrize(
    ("alerted_at", "well_at", "due"),
    [
        pytest.param(None, (None, None), True, id="first of the day"),
        pytest.param(at(9), (None, None), False, id="alerted already"),
        pytest.param(at(9), (at(-12), None), False, id="signed in yesterday"),
        pytest.param(at(9), (at(8), None), False, id="signed in before the alert"),
        pytest.param(at(9), (at(10), None), True, id="signed in after the alert"),
        pytest.param(at(9), (None, at(10)), True, id="renewed after the alert"),
        pytest.param(at(11), (at(10), at(10)), False, id="alerted again"),
        pytest.param(at(-1), (None, None), True, id="alerted yesterday"),
    ],
)
def test_one_alert_for_each_session_that_ended(
    alerted_at: datetime | None, well_at: tuple[datetime | None, ...], due: bool
) -> None:
    """A run alerts unless one already has today and since the last sign-in or renewal."""
    assert due == alert_is_due(at(12), alerted_at=alerted_at, well_at=well_at)


class TestScheduledRuns:
    """Runs that a schedule started, on a day when nobody has signed in."""

    @pytest.fixture
    def dead(self, block: str, credentials_for: Any, simulator: Simulator) -> str:
        """Credentials whose session ended on an earlier day."""
        token = simulator.sign_in("live", issued_at=datetime.now(UTC) - timedelta(days=2))
        credentials_for(token).save(block, overwrite=True)
        return block

    @pytest.fixture
    def scheduled(self, run_by_schedule: Scheduled) -> Scheduled:
        """Runs the renewal of these credentials as a schedule would."""
        return partial(run_by_schedule, renew_access_token)

    def test_first_of_the_day_fails_and_the_rest_are_quiet(
        self, simulator: Simulator, scheduled: Scheduled, dead: str
    ) -> None:
        """The day's first run fails and so alerts; the later ones complete, and say what to do."""
        states = [scheduled(dead) for _ in range(3)]
        assert [AttemptOutcome.SIGN_IN_REQUIRED] * 3 == [outcome_of(run_of(state)) for state in states]
        assert [True, False, False] == [state.is_failed() for state in states]
        assert [False, True, True] == [state.is_completed() for state in states]
        assert "Next: sign in" in states[2].message
        assert [] == simulator.calls(RENEW)

    def test_renewed_run_tells_of_a_sign_in_that_nobody_dated(
        self, simulator: Simulator, scheduled: Scheduled, block: str, credentials: ETradeCredentials
    ) -> None:
        """If the time of the sign-in is unknown, a failure after a renewal alerts again."""
        credentials.model_copy(update={"signed_in_at": None}).save(block, overwrite=True)
        states = []
        for refused in (True, True, False, True, True):
            if refused:
                simulator.plant(REFUSAL, path=RENEW)
            states.append(scheduled(block, force=True))
        assert AttemptOutcome.RENEWED is outcome_of(run_of(states[2]))
        assert [True, False, False, True, False] == [state.is_failed() for state in states]

    def test_before_the_time_to_sign_in_no_run_alerts(
        self, simulator: Simulator, scheduled: Scheduled, dead: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No run alerts before the hour by which a person should have signed in."""
        monkeypatch.setenv("ETRADE_SIGN_IN_BY", "23:59:59.999999")
        assert scheduled(dead).is_completed()

    def test_as_a_subflow_it_always_raises(
        self, simulator: Simulator, scheduled: Scheduled, dead: str
    ) -> None:
        """A pipeline fails each time, however many runs have alerted today."""

        @flow
        def pipeline() -> None:
            renew_access_token(dead)

        scheduled(dead)
        for _ in range(2):
            with pytest.raises(SignInRequired):
                pipeline()

    def test_session_that_is_only_too_short_always_fails(
        self, simulator: Simulator, scheduled: Scheduled, block: str
    ) -> None:
        """While somebody is signed in, every run that finds the session too short fails."""
        states = [scheduled(block, required_for="PT30H") for _ in range(2)]
        assert [True, True] == [state.is_failed() for state in states]
        assert all("are needed" in state.message for state in states)
