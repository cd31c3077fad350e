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


def told(news: list[SessionNews]) -> list[tuple[str, str | None]]:
    """The event and the cause of each piece of news."""
    return [(each.event.removeprefix("etrade.session."), each.cause) for each in news]


def reused(at: datetime) -> TokenSession:
    """A session that was renewed by an earlier run."""
    return renewed(at, reused=True)


def failed(kind: type[ETradeError]) -> Callable[[datetime], ETradeError]:
    """A renewal that fails in this way, whenever it is."""
    return lambda _: kind("It is so.", advice="mend it.")


class TestWhatThereIsToTell:
    """The news that a renewal's outcome makes, without Prefect."""

    @pytest.mark.parametrize(
        ("outcome", "minutes", "expected"),
        [
            (renewed, 0, [("renewed", None)]),
            (reused, 0, []),
            (reused, 10 * 60, []),
            (reused, 10 * 60 + 1, [("expiring", "midnight-near")]),
            (failed(SessionTooShort), 0, [("expiring", "too-short")]),
            (failed(SignInRequired), 0, [("sign-in-required", "refused")]),
            (failed(SignInRequired), 12 * 60, [("sign-in-required", "midnight")]),
            (failed(RenewalFailed), 0, [("failing", "RenewalFailed")]),
            (failed(ConfigurationRefused), 0, [("failing", "ConfigurationRefused")]),
        ],
    )
    def test_each_outcome_has_its_news_and_cause(
        self,
        noon: datetime,
        keys: ETradeCredentials,
        outcome: Callable[[datetime], Any],
        minutes: int,
        expected: list[tuple[str, str | None]],
    ) -> None:
        """A renewal is told once, a session two hours before its midnight, and a failure with its cause."""
        at = noon + timedelta(minutes=minutes)
        assert expected == told(list(outcome_news("main", outcome(at), keys, at)))

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

    @pytest.mark.parametrize("outcome", [renewed, failed(RenewalFailed)])
    def test_consumer_key_about_to_lapse_is_reported(
        self, keys: ETradeCredentials, noon: datetime, outcome: Callable[[datetime], Any]
    ) -> None:
        """A consumer key that is nearly two years old is reported, whether the renewal succeeds or fails."""
        aged = keys.model_copy(update={"consumer_key_issued_on": date(2025, 7, 1)})
        news = list(outcome_news("main", outcome(noon), aged, noon))
        assert ("key-lapsing", "key-age") == told(news)[-1]
        assert "main/2027-W24/key-lapsing" == news[-1].once
        assert "in 16 days" in news[-1].message

    def test_nobody_signed_in_is_a_cause_of_its_own(self, keys: ETradeCredentials, noon: datetime) -> None:
        """Credentials without a token are reported as signed out, without a fingerprint."""
        out = keys.model_copy(
            update={"access_token": None, "access_token_secret": None, "signed_in_at": None}
        )
        (news,) = outcome_news("main", SignInRequired("Nobody is."), out, noon)
        assert ("signed-out", "none, nobody is signed in", None) == (
            news.cause,
            news.session,
            news.fingerprint,
        )

    def test_one_alert_is_one_day_and_one_cause(self, noon: datetime, keys: ETradeCredentials) -> None:
        """The key by which alerts are deduplicated changes at midnight US Eastern, not at midnight UTC."""
        failure = RenewalFailed("It failed.")
        hours = (0, 11.9, 12)
        keyed = [next(outcome_news("main", failure, keys, noon + timedelta(hours=h))).once for h in hours]
        today = "main/2027-06-15/failing/RenewalFailed"
        assert [today, today, "main/2027-06-16/failing/RenewalFailed"] == keyed

    def test_how_the_session_stands_in_words(self, noon: datetime, keys: ETradeCredentials) -> None:
        """The news says until when the session lasts or why it is over, and does not guess."""
        over, guess = SignInRequired("It is over."), keys.model_copy(update={"signed_in_at": None})
        tomorrow = noon + timedelta(days=1)
        read = [
            next(outcome_news("main", renewed(noon), keys, noon)).session,
            next(outcome_news("main", over, keys, noon)).session,
            next(outcome_news("main", over, keys, tomorrow)).session,
            next(outcome_news("main", RenewalFailed("It failed."), guess, noon)).session,
        ]
        midnight = "2027-06-16 00:00 US Eastern"
        assert [
            f"until {midnight}",
            "ended, refused by E*TRADE",
            f"expired at {midnight}",
            "not known",
        ] == read


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
