"""What the events say about a session, and that sending them never stops a renewal."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.events.schemas.events import ReceivedEvent
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from etrade_flows.news import session_news
from etrade_flows.news.events import emit_outcome, emit_sign
from etrade_flows.news.session_news import SessionEvent, SessionNews
from etrade_tasks import (
    ConfigurationRefused,
    CredentialsNotFound,
    ETradeCredentials,
    RenewalFailed,
    SessionTooShort,
    SignInRequired,
    TokenSession,
)
from etrade_tasks.clock import use_clock
from etrade_tasks.errors import ETradeError
from etrade_tasks.load_credentials import load_credentials
from etrade_tasks.settings import RenewalSettings

outcome_news = partial(session_news.outcome_news, expiring_before=timedelta(hours=2))

GUIDE = Path(__file__).resolve().parents[3] / "deployments" / "automations" / "README.md"
FIELDS = [name for name in SessionNews.model_fields if name != "event"]
"""The names of the payload's fields, which the guide lists too."""
SECONDS = 30
"""How many seconds an event may take until it can be read; the server stores events every few seconds."""


@pytest.fixture
def keys(noon: datetime) -> ETradeCredentials:
    """Credentials of a session that began in the morning of `noon`."""
    secrets = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
    values = {secret: f"canary-{secret}" for secret in secrets}
    return ETradeCredentials.model_validate(values | {"signed_in_at": noon - timedelta(hours=3)})


def renewed(at: datetime, **changes: Any) -> TokenSession:
    """A session that was renewed at that Eastern time."""
    session = TokenSession(
        environment="live",
        fingerprint="0123456789abcdef",
        renewed_at=at,
        idle_at=at + timedelta(hours=2),
        expires_at=at.replace(hour=0, minute=0) + timedelta(days=1),
    )
    return session.model_copy(update=changes)


def reused(at: datetime) -> TokenSession:
    """A session that was renewed by an earlier run."""
    return renewed(at, reused=True)


def failed(kind: type[ETradeError]) -> Callable[[datetime], ETradeError]:
    """A renewal that fails in this way, whenever it is."""
    return lambda _: kind("It is so.", advice="mend it.")


over, unrenewed = failed(SignInRequired), failed(RenewalFailed)
UNTIL = "until 2027-06-16 00:00 US Eastern"
OVER = "expired at 2027-06-16 00:00 US Eastern"
UNDATED: dict[str, object] = {"signed_in_at": None}
OUT = UNDATED | {"access_token": None, "access_token_secret": None}
LAPSING = {"consumer_key_issued_on": date(2025, 7, 1)}
KEY_NEWS = ("key-lapsing", "key-age", UNTIL)


class TestWhatThereIsToTell:
    """The news that a renewal's outcome makes, without Prefect."""

    @pytest.mark.parametrize(
        ("outcome", "minutes", "changes", "expected"),
        [
            (renewed, 0, {}, [("renewed", None, UNTIL)]),
            (reused, 0, {}, []),
            (reused, 10 * 60, {}, []),
            (reused, 10 * 60 + 1, {}, [("expiring", "midnight-near", UNTIL)]),
            (failed(SessionTooShort), 0, {}, [("expiring", "too-short", UNTIL)]),
            (over, 0, {}, [("sign-in-required", "refused", "ended, refused by E*TRADE")]),
            (over, 12 * 60, {}, [("sign-in-required", "midnight", OVER)]),
            (over, 0, OUT, [("sign-in-required", "signed-out", "none, nobody is signed in")]),
            (unrenewed, 0, {}, [("failing", "RenewalFailed", UNTIL)]),
            (unrenewed, 0, UNDATED, [("failing", "RenewalFailed", "not known")]),
            (failed(ConfigurationRefused), 0, {}, [("failing", "ConfigurationRefused", UNTIL)]),
            (renewed, 0, LAPSING, [("renewed", None, UNTIL), KEY_NEWS]),
            (unrenewed, 0, LAPSING, [("failing", "RenewalFailed", UNTIL), KEY_NEWS]),
        ],
    )
    def test_each_outcome_has_its_news_and_cause(
        self,
        noon: datetime,
        keys: ETradeCredentials,
        *,
        outcome: Callable[[datetime], Any],
        minutes: int,
        changes: dict[str, object],
        expected: list[tuple[str, str | None, str]],
    ) -> None:
        """Each outcome, and a key about to lapse, makes its news, with the cause and the session's end."""
        at, loaded = noon + timedelta(minutes=minutes), keys.model_copy(update=changes)
        news = list(outcome_news("main", outcome(at), loaded, at))
        said = [(each.event.removeprefix("etrade.session."), each.cause, each.session) for each in news]
        assert expected == said
        assert (changes is OUT) == any(each.fingerprint is None for each in news)
        assert all("in 16 days" in each.message for each in news if each.cause == "key-age")

    def test_failure_is_told_in_the_words_of_its_error(self, noon: datetime) -> None:
        """A failed renewal is told with its error's message and advice, even if nothing was loaded."""
        (news,) = outcome_news("main", failed(CredentialsNotFound)(noon), None, noon)
        assert ("It is so.", "mend it.", "unknown") == (news.message, news.advice, news.environment)

    def test_when_expiring_begins_can_be_set(self, noon: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        """`ETRADE_EXPIRING_BEFORE` takes an ISO 8601 duration, and 0 turns the alert off."""
        late = noon.replace(hour=23, minute=50)
        counts = []
        for before in ("PT5M", "0", "PT15M"):
            monkeypatch.setenv("ETRADE_EXPIRING_BEFORE", before)
            before_end = RenewalSettings().expiring_before
            news = outcome_news("main", renewed(late), None, late, expiring_before=before_end)
            counts.append(len(list(news)))
        assert [1, 1, 2] == counts

    def test_one_alert_is_one_cause_of_a_day_or_week(self, noon: datetime, keys: ETradeCredentials) -> None:
        """Failures of one cause and Eastern day share an alert, and so do a week's about the key's age."""
        aged = keys.model_copy(update=LAPSING)
        keyed = [
            [news.once for news in outcome_news("main", unrenewed(noon), aged, noon + later)]
            for later in (timedelta(0), timedelta(hours=11.9), timedelta(hours=12))
        ]
        today, tomorrow = (f"main/2027-06-{day}/failing/RenewalFailed" for day in (15, 16))
        week = "main/2027-W24/key-lapsing"
        assert [[today, week], [today, week], [tomorrow, week]] == keyed


def test_every_field_is_documented() -> None:
    """The README lists all events and all fields of the payload, in their order."""
    first_cells = re.findall(r"^\| `([a-z_.-]+)` \|", GUIDE.read_text(), flags=re.MULTILINE)
    assert list(SessionEvent) == [cell for cell in first_cells if "." in cell]
    assert FIELDS == [cell for cell in first_cells if "." not in cell]


def events_about(credentials: str) -> list[ReceivedEvent]:
    """The stored events about the session of these credentials, oldest first."""
    wanted = EventFilter(
        event=EventNameFilter(prefix=["etrade.session."]),
        any_resource=EventAnyResourceFilter(id=[f"etrade.session.{credentials}"]),
    )
    with get_client(sync_client=True) as client:
        page = client.read_events(wanted, limit=50)
    return sorted(page.events, key=lambda event: event.occurred)


@flow
def tells(credentials: str) -> None:
    """Reports a renewal, a sign-in that is due, a sign-in and a sign-out."""
    loaded = load_credentials(credentials)
    at = loaded.signed_in_at
    emit_outcome(credentials, renewed(at), loaded)
    emit_outcome(credentials, SignInRequired("It is over."), loaded)
    emit_sign(SessionEvent.SIGNED_IN, credentials, loaded)
    emit_sign(SessionEvent.SIGNED_OUT, credentials, loaded)


def run_of_a_deployment(credentials: str) -> FlowRun:
    """Run `tells` from a deployment of its own, and return the run."""
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(tells)
        deployment = client.create_deployment(flow_id, name=credentials)
        run = client.create_flow_run_from_deployment(
            deployment, parameters={"credentials": credentials}, state=Scheduled()
        )
    run_flow(tells, flow_run=run, parameters=run.parameters)
    return run


@pytest.mark.essential
@pytest.mark.usefixtures("quick_flows")
def test_events_arrive_with_their_resources(
    block: str, keys: ETradeCredentials, noon: datetime, wait_until: Callable[..., None]
) -> None:
    """Each event links to its run, deployment and block, and holds every field and no secret."""
    keys.save(block, overwrite=True)
    with use_clock(lambda: noon):
        run = run_of_a_deployment(block)
    wait_until(lambda: len(events_about(block)) == 4, SECONDS)
    events = events_about(block)
    names = ["renewed", "sign-in-required", "signed-in", "signed-out"]
    assert [f"etrade.session.{name}" for name in names] == [event.event for event in events]
    block_id = ETradeCredentials.load(block)._block_document_id
    linked = {
        ("flow-run", f"prefect.flow-run.{run.id}"),
        ("deployment", f"prefect.deployment.{run.deployment_id}"),
        ("block", f"prefect.block-document.{block_id}"),
    }
    for event in events:
        about = {
            "prefect.resource.id": f"etrade.session.{block}",
            "prefect.resource.name": block,
            "etrade.environment": "live",
            "etrade.once": event.payload["once"],
        }
        assert about == event.resource.model_dump()
        assert linked <= {(resource.role, resource.id) for resource in event.related}
        assert set(event.payload) == set(FIELDS)
        assert "canary" not in event.model_dump_json()


class TestTellingStopsNothing:
    """A run goes on whatever happens to its events."""

    @pytest.fixture
    def emitted(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the events that would be emitted; none reaches a server."""
        names: list[str] = []
        monkeypatch.setattr("etrade_flows.news.events.emit_event", lambda name, **_: names.append(name))
        return names

    def test_outside_of_a_run_nothing_is_told(self, noon: datetime, emitted: list[str]) -> None:
        """Outside of a run no event is emitted, so the flow's plain function needs no server."""
        emit_outcome("main", renewed(noon), None)
        assert [] == emitted

    def test_event_that_cannot_be_emitted_is_a_warning(
        self,
        quick_flows: None,
        noon: datetime,
        keys: ETradeCredentials,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """If no event can be emitted, renewal, sign-in and sign-out still succeed, each with a warning."""

        def refuse(*_: Any, **__: Any) -> None:
            raise ConnectionError

        monkeypatch.setattr("etrade_flows.news.events.emit_event", refuse)

        @flow
        def renews() -> str:
            emit_outcome("main", renewed(noon), None)
            emit_sign(SessionEvent.SIGNED_IN, "main", keys)
            emit_sign(SessionEvent.SIGNED_OUT, "main", keys)
            return "done"

        assert "done" == renews()
        assert 3 == caplog.text.count("The event could not be emitted (ConnectionError).")

    @pytest.mark.parametrize("scheduled", [True, False])
    def test_scheduled_run_keeps_quiet_before_the_hour_to_sign_in(
        self,
        noon: datetime,
        keys: ETradeCredentials,
        emitted: list[str],
        monkeypatch: pytest.MonkeyPatch,
        scheduled: bool,
    ) -> None:
        """Before `ETRADE_SIGN_IN_BY` a scheduled run reports everything except a sign-in that is due."""
        expected = ["failing"] if scheduled else ["sign-in-required", "failing"]
        monkeypatch.setenv("ETRADE_SIGN_IN_BY", "12:01")
        run = FlowRun.model_construct(auto_scheduled=scheduled, parent_task_run_id=None)
        monkeypatch.setattr("etrade_flows.news.events.current_run", lambda: run)
        with use_clock(lambda: noon):
            emit_outcome("main", SignInRequired("It is over."), keys)
            emit_outcome("main", RenewalFailed("It failed."), keys)
        assert [f"etrade.session.{name}" for name in expected] == emitted
