"""The ready automations, on a real server: who is notified of what, how often, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL,
    PREFECT_UI_URL,
    get_current_settings,
    temporary_settings,
)
from prefect.utilities.callables import parameter_schema

from etrade_flows import renew_fleet, sign_in
from etrade_flows.cli import app as cli
from etrade_flows.news.automations import ALL_CLEAR, FLEET_ALERT, FLEET_CLEAR, TAG
from etrade_flows.news.events import emit_outcome, emit_sign
from etrade_flows.news.fleet_news import FleetNews, emit_fleet, not_renewed_news, renewed_news
from etrade_flows.news.session_news import SessionEvent
from etrade_flows.news.telling import tell_failure
from etrade_flows.runs.names import START_SIGN_IN
from etrade_simulator import Simulator
from etrade_tasks import (
    ConfigurationRefused,
    ETradeCredentials,
    RenewalFailed,
    SignInRequired,
    TokenSession,
    TokensNotRenewed,
)
from etrade_tasks.clock import use_clock
from etrade_tasks.errors import ETradeError

pytestmark = [pytest.mark.usefixtures("installed"), pytest.mark.starts_programs]

SECONDS = 30
"""How many seconds an alert may take on a busy machine; on an idle one, it takes less than one."""
CANARY = "canary-7f3a"
OUTAGE = "Every attempt failed."
UI = "http://prefect.example/v2"
"""The address that the server uses for its UI."""
NOTIFY = "custom-webhook/inbox"
ALL = ("--notify", NOTIFY, "--sign-in-deployment", "sign-in/on-demand")
"""The options that install every automation."""

Install = Callable[..., int]
Tell = Callable[..., None]


@pytest.fixture(scope="module")
def server(harness: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """A Prefect server for this module alone, whose links lead to `UI`."""
    # A process has only one of each, which stays with the first server that it was used for.
    EventsWorker.drain_all()
    APILogWorker.drain_all()
    changes: dict[Any, Any] = {PREFECT_UI_URL: UI, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    # These tests read no stored event, and while SQLite is busy, the server (3.8) sometimes drops one.
    changes[PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL] = 5
    with temporary_settings(changes), harness():
        yield


@pytest.fixture(scope="module")
def installed(server: None, inbox: Any) -> Install:
    """Installs all automations; returns the command `etrade-session alerts`, which by default does it again.

    They notify the inbox. The sign-ins that they start stay scheduled, because no worker picks them up.
    """
    text = {"subject": "{{subject}}", "body": "{{body}}"}
    CustomWebhookNotificationBlock(name="inbox", url=inbox.url, json_data=text).save("inbox")
    with get_client(sync_client=True) as client:
        client.create_deployment(
            client.create_flow(sign_in),
            name="on-demand",
            parameter_openapi_schema=parameter_schema(sign_in).model_dump(),
            enforce_parameter_schema=True,
        )

    def install(*options: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(["alerts", *(options or ALL)])
        return ended.value.code

    assert 0 == install()
    return install


@pytest.fixture
def keys(noon: datetime) -> ETradeCredentials:
    """Credentials from a block, of a session that began that morning; every secret is a canary."""
    keys = ETradeCredentials.model_validate(
        {
            "consumer_key": f"{CANARY}-key",
            "consumer_secret": f"{CANARY}-consumer",
            "access_token": f"{CANARY}-token",
            "access_token_secret": f"{CANARY}-secret",
            "signed_in_at": noon - timedelta(hours=3),
        }
    )
    keys._block_document_id = uuid4()
    return keys


@pytest.fixture
def tell(keys: ETradeCredentials, noon: datetime, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Runs a flow that reports the outcome of a renewal."""
    monkeypatch.setattr("etrade_flows.runs.way_in._LOOK_EVERY", 0.05)

    def run(credentials: str, outcome: TokenSession | ETradeError, at: datetime = noon) -> None:
        @flow(name="renews", flow_run_name=f"renew {credentials}")
        def renews() -> None:
            if isinstance(outcome, TokenSession):
                emit_outcome(credentials, outcome, keys)
            else:
                tell_failure(credentials, at, outcome, keys)

        with use_clock(lambda: at):
            renews()

    return run


@pytest.fixture
def heard(inbox: Any, wait_until: Callable[..., None]) -> Callable[[str, int], list[str]]:
    """Waits for this many notifications about the credentials, and returns their subjects."""

    def wait(credentials: str, count: int) -> list[str]:
        wait_until(lambda: len(inbox.about(credentials)) >= count, SECONDS)
        return inbox.about(credentials)

    return wait


@pytest.fixture
def until_heard(inbox: Any, wait_until: Callable[..., None]) -> Callable[..., None]:
    """Repeats an action until this many notifications about the credentials, or about fleets, have come.

    While SQLite is busy, the server (3.8) sometimes drops an event; the next run reports the same again.
    """
    inbox.received.clear()

    def act(count: int, action: Callable[[], object], credentials: str | None = None) -> None:
        for _ in range(6):
            action()
            with suppress(AssertionError):
                wait_until(
                    lambda: count <= len(inbox.about(credentials) if credentials else about_fleets(inbox)), 10
                )
                return

    return act


def installed_automations() -> list[Automation]:
    """The automations that the command has installed, sorted by name."""
    with get_client(sync_client=True) as client:
        found = client.read_automations()
    return sorted((a for a in found if a.tags == [TAG]), key=lambda a: a.name)


def sign_ins(credentials: str) -> list[FlowRun]:
    """The sign-ins started for these credentials; they stay scheduled, because no worker picks them up."""
    wanted = DeploymentFilter.model_validate({"name": {"any_": ["on-demand"]}})
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(deployment_filter=wanted)
    return [run for run in runs if run.parameters["credentials"] == credentials]


@pytest.mark.essential
def test_a_sign_in_that_is_due_is_reported(tell: Tell, heard: Any, inbox: Any) -> None:
    """The notification links to the waiting sign-in, and names reason and session but no secret."""
    tell("due", SignInRequired("E*TRADE refused it.", advice="sign in."))
    assert ["E*TRADE: sign in for due"] == heard("due", 1)
    link, _, told, _, who, stands, run, *rest = inbox.body("due").splitlines()
    [started] = sign_ins("due")
    assert link.startswith(f"Sign in now: {UI}/runs/flow-run/{started.id} (press Resume ")
    assert "E*TRADE refused it." == told
    assert "Credentials: due (live)" == who
    assert "Session: ended, refused by E*TRADE" == stands
    assert run.startswith(f"Reported by: renew due: sign-in required {UI}/runs/flow-run/")
    assert [] == rest
    assert CANARY not in str(inbox.received)


def test_alert_leads_to_the_form_where_nothing_starts_a_sign_in(tell: Tell, heard: Any, inbox: Any) -> None:
    """While the automation that starts sign-ins is paused, the alert links to the deployment's run form."""
    [starter] = [a for a in installed_automations() if a.name == START_SIGN_IN]
    with get_client(sync_client=True) as client:
        client.pause_automation(starter.id)
        try:
            tell("by-hand", SignInRequired("E*TRADE refused it."))
            assert ["E*TRADE: sign in for by-hand"] == heard("by-hand", 1)
        finally:
            client.resume_automation(starter.id)
        deployment = client.read_deployment_by_name("sign-in/on-demand")
    link, *_ = inbox.body("by-hand").splitlines()
    form = f"{UI}/deployments/deployment/{deployment.id}/run"
    filled_in = quote('{"credentials":"by-hand"}')
    assert link.startswith(f"Sign in now: {form}?parameters={filled_in} (start the run")
    assert [] == sign_ins("by-hand")


def test_one_sign_in_waits_and_each_alert_links_to_it(
    tell: Tell, heard: Any, inbox: Any, noon: datetime
) -> None:
    """A sign-in that is due starts one run, which waits until people are awake; later alerts link to it."""
    name = "20270615"  # stays text, though it looks like a number
    for at in (noon, noon, noon + timedelta(hours=12)):
        tell(name, SignInRequired("E*TRADE refused it."), at=at)
    assert [f"E*TRADE: sign in for {name}"] * 2 == heard(name, 2)
    [started] = sign_ins(name)
    assert {"credentials": name, "keep_open_for": "PT12H", "rerun": False} == started.parameters
    about = [sent["body"] for sent in inbox.received if f"Credentials: {name} " in sent["body"]]
    assert [True, True] == [f"/runs/flow-run/{started.id} " in body for body in about]


def test_midnight_that_is_near_is_reported(
    tell: Tell, heard: Any, inbox: Any, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If `ETRADE_EXPIRING_BEFORE` is set, a renewal late in the day reports when the session ends."""
    monkeypatch.setenv("ETRADE_EXPIRING_BEFORE", "PT2H")
    evening = noon.replace(hour=22, minute=30)
    tell("late", session(evening), at=evening)
    assert ["E*TRADE: the session of late is about to end"] == heard("late", 1)
    assert "Session: until 2027-06-16 00:00 US Eastern" in inbox.body("late").splitlines()


def test_one_cause_alerts_once_a_day(tell: Tell, heard: Any, noon: datetime) -> None:
    """A failure alerts once per cause and Eastern day; another cause alerts too, and so does the next day."""
    for _ in range(3):
        tell("once", RenewalFailed(OUTAGE))
    tell("once", ConfigurationRefused("The key has lapsed."))
    tell("once", RenewalFailed(OUTAGE), at=noon + timedelta(hours=11, minutes=59))
    tell("once", RenewalFailed(OUTAGE), at=noon + timedelta(hours=12))
    tell("once", SignInRequired("It is over."), at=noon + timedelta(hours=12))
    subjects = heard("once", 4)
    failing = "E*TRADE: the session of once cannot be renewed"
    assert [failing, failing, failing, "E*TRADE: sign in for once"] == subjects


def test_all_clear_follows_an_alert(
    tell: Tell, until_heard: Any, inbox: Any, keys: ETradeCredentials, noon: datetime
) -> None:
    """When a session is good again, people get one all-clear after each alert, and none without an alert."""

    def tell_later(outcome: TokenSession | ETradeError, hours: int) -> None:
        tell("clear", outcome, at=noon + timedelta(hours=hours))

    def signs_in() -> None:
        with use_clock(lambda: noon + timedelta(hours=20)):
            emit_sign(SessionEvent.SIGNED_IN, "clear", keys)

    tell("clear", session(noon))
    until_heard(1, lambda: tell_later(RenewalFailed(OUTAGE), 0), "clear")
    until_heard(2, lambda: tell_later(session(noon + timedelta(hours=1)), 1), "clear")
    tell_later(session(noon + timedelta(hours=2)), 2)
    until_heard(3, lambda: tell_later(SignInRequired("It is over."), 12), "clear")
    until_heard(4, signs_in, "clear")
    tell_later(session(noon + timedelta(hours=21)), 21)
    until_heard(5, lambda: tell_later(ConfigurationRefused("a marker, told last"), 0), "clear")
    good = "E*TRADE: the session of clear is good again"
    failing = "E*TRADE: the session of clear cannot be renewed"
    assert [failing, good, "E*TRADE: sign in for clear", good, failing] == inbox.about("clear")
    [first, _] = [sent["body"] for sent in inbox.received if sent["subject"] == good]
    said = "Renewed in 1 call; idle from 15:00, expires at 00:00 US Eastern."
    assert [said, "", "Next: nothing, all is well."] == first.splitlines()[:3]


def test_key_that_is_about_to_lapse_is_reported_once_a_week(
    keys: ETradeCredentials, tell: Tell, heard: Any, noon: datetime
) -> None:
    """One renewal a week reports that the key is about to lapse."""
    keys.consumer_key_issued_on = date(2025, 7, 1)
    for days in (0, 1, 5, 6):  # from Tuesday to Monday
        tell("lapsing", session(noon + timedelta(days=days)), at=noon + timedelta(days=days))
    tell("lapsing", RenewalFailed(OUTAGE), at=noon + timedelta(days=6))
    told = "E*TRADE: the key of lapsing is about to lapse"
    assert [told, told] == [subject for subject in heard("lapsing", 3) if "key" in subject]


def test_once_a_day_holds_when_the_emitter_starts_again(
    heard: Any, tell: Tell, run_python: Callable[..., str]
) -> None:
    """Two separate processes that report the same failure cause only one alert."""
    program = (
        "from prefect import flow\n"
        "from etrade_flows.news.events import emit_outcome\n"
        "from etrade_tasks import RenewalFailed\n"
        "@flow\n"
        "def renews():\n"
        "    emit_outcome('restarted', RenewalFailed('again'), None)\n"
        "renews()\n"
    )
    tell("restarted", RenewalFailed(OUTAGE), at=datetime.now(UTC))
    run_python("-c", program, PREFECT_API_URL=get_current_settings().api.url)
    tell("restarted", SignInRequired("a marker, told after all that went before"))
    restarted = "E*TRADE: the session of restarted cannot be renewed"
    assert [restarted, "E*TRADE: sign in for restarted"] == heard("restarted", 2)


def test_installing_again_changes_nothing(installed: Install, tell: Tell, heard: Any, capsys: Any) -> None:
    """Installing again changes no automation, and repeats no alert that was already sent."""
    before = installed_automations()
    tell("again", RenewalFailed(OUTAGE))
    heard("again", 1)
    assert 0 == installed()
    assert ["unchanged"] * len(before) == [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert before == installed_automations()
    tell("again", RenewalFailed(OUTAGE))
    tell("again", SignInRequired("a marker, told after all that went before"))
    again = "E*TRADE: the session of again cannot be renewed"
    assert [again, "E*TRADE: sign in for again"] == heard("again", 2)


def test_a_sample_can_be_sent(installed: Install, inbox: Any, capsys: Any) -> None:
    """`alerts --test` sends a sample through the block, and installs nothing."""
    before = installed_automations()
    assert 0 == installed("--notify", NOTIFY, "--test")
    assert "E*TRADE: this is a test" in [sent["subject"] for sent in inbox.received]
    assert ("sent", before) == (capsys.readouterr().out.split()[0], installed_automations())


def test_a_sample_that_cannot_be_sent_says_so(installed: Install, capsys: Any) -> None:
    """If a block has a wrong address, the error names the block only: the address may contain a secret."""
    CustomWebhookNotificationBlock(name="void", url=f"http://127.0.0.1:9/{CANARY}").save("void")
    assert 1 == installed("--notify", "custom-webhook/void", "--test")
    said = " ".join(capsys.readouterr().err.split())
    assert "The sample could not be sent through 'custom-webhook/void' (ConnectError)." in said
    assert CANARY not in said


def test_installing_again_restores_what_was_edited(installed: Install, capsys: Any) -> None:
    """Installing again restores an edited automation, but a paused one stays paused."""
    first, *others = before = installed_automations()
    with get_client(sync_client=True) as client:
        edited = first.model_dump(exclude={"id", "owner_resource"}) | {"description": "?", "enabled": False}
        client.update_automation(first.id, AutomationCore.model_validate(edited))
    try:
        assert 0 == installed()
        expected = [first.model_copy(update={"enabled": False}), *others]
        assert expected == installed_automations()
        assert 1 == capsys.readouterr().out.count("updated")
    finally:
        with get_client(sync_client=True) as client:
            client.resume_automation(first.id)
    assert before == installed_automations()


def test_every_key_of_a_trigger_is_known_to_the_server() -> None:
    """The server keeps each trigger as it was written; it would drop a key that it does not know."""
    kept = {
        event: (a.trigger.match.root, a.trigger.for_each, a.trigger.threshold, a.trigger.within)
        for a in installed_automations()
        if a.name not in (ALL_CLEAR, FLEET_ALERT, FLEET_CLEAR)
        for event in a.trigger.expect
    }
    meant = ({"prefect.resource.id": "etrade.session.*"}, {"etrade.once"}, 1)
    day, week = timedelta(hours=26), timedelta(days=8)
    alerts = {"expiring": day, "failing": day, "sign-in-wanted": day, "sign-in-required": day}
    alerts["key-lapsing"] = week
    assert {f"etrade.session.{alert}": (*meant, within) for alert, within in alerts.items()} == kept
    [fleet] = [a.trigger for a in installed_automations() if a.name == FLEET_ALERT]
    assert ("etrade.fleet", {"etrade.once"}, day) == (
        fleet.match.root["prefect.resource.id"],
        fleet.for_each,
        fleet.within,
    )


def test_options_reach_the_sign_in(installed: Install) -> None:
    """`--keep-open-for` and `--rerun` become parameters of the sign-in."""
    try:
        assert 0 == installed(*ALL, "--keep-open-for", "90m", "--rerun")
        [starter] = [a for a in installed_automations() if a.name == START_SIGN_IN]
        given = starter.actions[0].parameters
        assert ("PT1H30M", True) == (given["keep_open_for"], given["rerun"])
    finally:
        installed()


def test_without_a_sign_in_deployment_the_rest_is_installed(installed: Install, capsys: Any) -> None:
    """Without a deployment of `sign-in`, the command succeeds and says what it left out."""
    assert 0 == installed("--notify", NOTIFY)
    *_, last = capsys.readouterr().out.splitlines()
    assert "left out   E*TRADE: start the sign-in (no deployment sign-in/sign-in)" == last


def test_block_that_cannot_notify_is_refused(
    installed: Install, keys: ETradeCredentials, capsys: Any
) -> None:
    """A block that does not exist or cannot notify is refused, before an alert could get lost."""
    keys.save("not-a-notifier")
    refusals = {
        "custom-webhook/nobody": "There is no block 'custom-webhook/nobody'. Next: create it",
        "nothing": "There is no block 'nothing'. Next: create it",
        "etrade-credentials/not-a-notifier": "cannot notify. Next: use a notification block",
    }
    for block, told in refusals.items():
        assert 1 == installed("--notify", block)
        assert told in " ".join(capsys.readouterr().err.split())


def session(at: datetime) -> TokenSession:
    """A session that was renewed at that Eastern time."""
    return TokenSession(
        environment="live",
        fingerprint="0123456789abcdef",
        renewed_at=at,
        idle_at=at + timedelta(hours=2),
        expires_at=at.replace(hour=0, minute=0) + timedelta(days=1),
    )


def about_fleets(inbox: Any) -> list[dict[str, str]]:
    """The messages about fleets, which name no single credentials as all others do."""
    return [sent for sent in inbox.received if "Credentials: " not in sent["body"]]


@pytest.fixture
def save(server: None, simulator: Simulator, credentials_for: Any) -> Callable[..., Any]:
    """Saves the block of a token just issued, with these changes, and returns the token."""

    def make(name: str, **changes: object) -> Any:
        token = simulator.sign_in("live")
        credentials_for(token, **changes).save(name, overwrite=True)
        return token

    return make


@flow
def tells_of_a_fleet(news: FleetNews) -> None:
    """Reports the news of a fleet, as a run of `renew-fleet` would."""
    emit_fleet(news)


def test_all_clear_follows_the_alert_about_a_fleet(
    server: None, noon: datetime, inbox: Any, until_heard: Callable[..., None]
) -> None:
    """When the whole fleet is good again, people get one all-clear after each alert, and none without one."""
    out = TokensNotRenewed("It is over.", errors={"any": SignInRequired("It is over.")})
    good, bad = "2 of 2 sessions are good", ("1 of 2 sessions are good", "0 of 2 sessions are good")
    all_clear = renewed_news(good, noon)
    tells_of_a_fleet(all_clear)
    for number, summary in enumerate(bad):
        alert = not_renewed_news(out, summary, {"any": summary}, noon)
        until_heard(2 * number + 1, partial(tells_of_a_fleet, alert))
        until_heard(2 * number + 2, partial(tells_of_a_fleet, all_clear))
    well = f"E*TRADE: all is well again, {good}"
    expected = [f"E*TRADE: {bad[0]}", well, f"E*TRADE: {bad[1]}", well]
    assert expected == [sent["subject"] for sent in about_fleets(inbox)]


@pytest.mark.usefixtures("quick_retries", "empty_memory")
def test_one_alert_names_all_who_need_somebody(
    simulator: Simulator, save: Callable[..., Any], inbox: Any, until_heard: Callable[..., None]
) -> None:
    """All failing tokens of a run cause one alert; the same failures cause no second, but a new one does."""
    out = {"access_token": None, "access_token_secret": None}
    names = ("fleet-good", "fleet-out-1", "fleet-out-2", "fleet-wrong")
    for name, changes in zip(names, ({}, out, out, {"consumer_key": "fake-unknown-key"}), strict=True):
        save(name, **changes)

    renew = partial(renew_fleet, ["fleet-*"], per_second=1_000.0, return_state=True)
    until_heard(1, renew)
    renew()
    save("fleet-good", **out)
    until_heard(2, renew)
    renew()
    first, second = about_fleets(inbox)
    assert [] == [name for name in names if inbox.about(name)]
    assert "E*TRADE: 1 of 4 sessions are good" == first["subject"]
    who, _, failed, _, advice, _, told_by, *_ = first["body"].splitlines()
    assert "Sign in (2): fleet-out-1, fleet-out-2" == who
    assert "fleet-wrong: ConfigurationRefused" == failed
    assert advice.startswith("Next: follow the advice for each in the table `etrade-fleet`")
    assert told_by.startswith("Reported by: renew fleet: 1 of 4 sessions are good http://prefect.example/")
    assert "E*TRADE: 0 of 4 sessions are good" == second["subject"]
    assert "Sign in (3): fleet-good, fleet-out-1, fleet-out-2" == second["body"].splitlines()[0]
