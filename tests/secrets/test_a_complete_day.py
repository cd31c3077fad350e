"""A search through a whole day of all that a person and a schedule can do: no canary shows anywhere.

It has real commands at a recorded terminal, flows, automations with a webhook, and an E*TRADE that echoes
what it is sent. A key may show only in the address that a person opens to sign in; that address is cut out of
the recordings, and a test counts how often.
"""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from etrade_flows import etrade_client, renew_access_token
from etrade_flows.cli.app import main
from etrade_flows.sign_in import sign_in
from etrade_flows.sign_out import sign_out
from etrade_simulator import Fault, Simulator, SimulatorClock
from etrade_simulator.tokens import GrantedToken
from etrade_tasks import ETradeError
from etrade_tasks.clock import use_clock

pytestmark = pytest.mark.essential

NAME = "complete-day"
RENEW, ACCOUNTS = "/oauth/renew_access_token", "/v1/accounts/list.json"
ADDRESS = re.compile(r"http://\S*/e/t/etws/authorize\?\S+")
REDIS_PASSWORD = "fake-canary-redis-password"
WEBHOOK_KEY = "fake-canary-webhook-key"
WRONG_VERIFIER = "fake-canary-wrong-verifier"


@dataclass
class Day:
    """What a day left behind: screens, logs, errors and notifications, and the canaries to look for."""

    canaries: dict[str, set[str]] = field(default_factory=dict, repr=False)
    """The values that must show nowhere, by kind."""
    screens: dict[str, str] = field(default_factory=dict, repr=False)
    addresses: int = 0
    log: io.StringIO = field(default_factory=io.StringIO)
    raised: list[str] = field(default_factory=list, repr=False)
    told: list[str] = field(default_factory=list, repr=False)

    def plant(self, kind: str, *values: str) -> None:
        """Look for these values from now on."""
        self.canaries.setdefault(kind, set()).update(values)

    def seen_in(self, text: str) -> list[str]:
        """The kinds of canaries that show in a text, plain or percent-encoded."""
        return [
            kind
            for kind, values in self.canaries.items()
            if any(spelling in text for value in values for spelling in {value, quote(value, safe="")})
        ]


NEXT = "== next =="
EACH = f"""
import sys
from contextlib import suppress
from etrade_flows.cli.app import main

for line in sys.argv[1:]:
    with suppress(SystemExit):
        main(line.split())
    print({NEXT!r}, flush=True)
"""
"""Runs several commands one after another, since each process takes seconds to import Prefect."""


class Terminal:
    """A program at a terminal of its own, whose output is recorded."""

    def __init__(self, *arguments: str) -> None:
        self.recording = ""
        self._seen = 0
        self._master, terminal = pty.openpty()
        settings = {"PREFECT_API_URL": get_current_settings().api.url, "COLUMNS": "500", "TERM": "xterm"}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | settings,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)

    def until(self, text: str, seconds: float = 90) -> None:
        """Read on until this text appears, after the text of the previous call."""
        while (found := self.recording.find(text, self._seen)) < 0:
            assert select.select([self._master], [], [], seconds)[0], self.recording
            self._read()
        self._seen = found + len(text)

    def answer(self, prompt: str, typed: str) -> None:
        """Type a line once the prompt appears."""
        self.until(prompt)
        self.type(typed)

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._master, line.encode() + b"\n")

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        with suppress(OSError):  # a terminal raises it when nobody writes to it any more
            while True:
                self._read()
        os.close(self._master)
        return self._process.wait(timeout=30)

    def _read(self) -> None:
        self.recording += os.read(self._master, 65_536).decode(errors="replace")


@contextmanager
def spied(day: Day, simulator: Simulator) -> Iterator[None]:
    """Plant every token, secret and signature that passes through the simulator as a canary."""
    service, registry = simulator._service, simulator._service.registry
    handle, add_token = service.handle, registry.add_token

    def added(token: Any) -> Any:
        kind = "access token" if isinstance(token, GrantedToken) else "request token"
        day.plant(kind, token.token)
        day.plant(f"{kind} secret", token.secret)
        return add_token(token)

    def handled(operation: Any, call: Any, environment: Any) -> Any:
        day.plant("signature", call.oauth["oauth_signature"])
        headers = {name.lower(): value for name, value in call.headers.items()}
        day.plant("authorization header", headers["authorization"])
        return handle(operation, call, environment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "handle", handled)
        patch.setattr(registry, "add_token", added)
        # A verifier of five characters would show up by chance in so much text.
        patch.setattr("etrade_simulator.tokens.VERIFIER_LENGTH", 24)
        yield


@flow(flow_run_name=f"pipeline of {NAME}")
def pipeline(*, force: bool = False) -> None:
    """Renews and reads data, even if the token is idle."""
    renew_access_token(NAME, force=force)
    with etrade_client(NAME) as client:
        client.get(ACCOUNTS).raise_for_status()


@flow(flow_run_name="last word of the day")
def last_word() -> None:
    """Leaves an event; once it is stored, everything before it is stored as well."""


def last_word_is_written(run: UUID | None) -> bool:
    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.Completed"]),
        any_resource=EventAnyResourceFilter(id=[f"prefect.flow-run.{run}"]),
    )
    with get_client(sync_client=True) as client:
        return client.read_events(wanted, limit=1).total > 0


def approved(day: Day, simulator: Simulator, address: str) -> str:
    verifier = simulator.approve(parse_qs(urlsplit(address).query)["token"][0])
    day.plant("verifier", verifier)
    return verifier


def commands(day: Day, *lines: str) -> None:
    """Run commands that ask nothing."""
    terminal = Terminal("-c", EACH, *lines)
    assert 0 == terminal.end(), terminal.recording
    day.screens |= zip(lines, terminal.recording.split(NEXT)[:-1], strict=True)


def login(day: Day, simulator: Simulator) -> None:
    """The first sign-in: the keys, a wrong verifier, then the right one."""
    consumer = simulator.consumer("live")
    day.plant("consumer key", consumer.key)
    day.plant("consumer secret", consumer.secret)
    issued = (datetime.now(UTC) - timedelta(days=710)).date().isoformat()
    options = ["--credentials", NAME, "--no-browser", "--key-issued-on", issued]
    terminal = Terminal("-m", "etrade_flows.cli.app", "login", *options)
    terminal.answer("Consumer key (stays hidden): ", consumer.key)
    terminal.answer("Consumer secret (stays hidden): ", consumer.secret)
    terminal.answer("left: ", WRONG_VERIFIER)
    terminal.until("Here is a new sign-in")
    terminal.until("left: ")
    addresses = ADDRESS.findall(terminal.recording)
    terminal.type(approved(day, simulator, addresses[-1]))
    assert 0 == terminal.end(), terminal.recording
    day.addresses = len(addresses)
    day.screens["login"] = ADDRESS.sub("", terminal.recording)


def faulty_renewals(day: Day, simulator: Simulator) -> None:
    """Every kind of failure, with answers that echo what E*TRADE was sent."""
    echo = " ".join(value for values in day.canaries.values() for value in sorted(values))[:4000]
    for fault in (
        Fault(status=200, body=f"maintenance {echo}"),
        Fault(status=401, body=f"oauth_problem=consumer_key_rejected {echo}", headers={"X-Echo": echo}),
        Fault(status=500, body=f"<pre>{echo}</pre>"),
        Fault(drop="mid-body"),
        Fault(status=401, body=f"oauth_problem=token_rejected&echo={echo}"),
    ):
        simulator.plant(fault, path=RENEW, times=9)
        run_badly(day)
        simulator.clear_faults()


def run_badly(day: Day) -> None:
    with pytest.raises(ETradeError) as caught:
        pipeline(force=True)
    error = caught.value
    day.raised.append(repr(error) + str(error) + repr(error.__cause__) + repr(error.__context__))


def sign_in_through_the_ui(day: Day, person: Any) -> None:
    """A sign-in by the flow: a wrong verifier, then the right one, after which waiting runs go on."""

    def noted(verifier: str) -> str:
        day.plant("verifier", verifier)
        return verifier

    person.answers(lambda verifier: noted(verifier) and WRONG_VERIFIER)
    person.answers(noted)
    sign_in(NAME, rerun=True)
    person.leave()


@contextmanager
def notified(inbox: Any) -> Iterator[None]:
    """Install the automations with their command, and delete them at the end."""
    text = {"subject": "{{subject}}", "body": "{{body}}"}
    url, secrets = f"{inbox.url}?key={{{{key}}}}", {"key": WEBHOOK_KEY}
    webhook = CustomWebhookNotificationBlock(name="day", url=url, secrets=secrets, json_data=text)
    webhook.save("day", overwrite=True)
    # No automation starts a sign-in: while one waits for its person, the server stores its form.
    with pytest.raises(SystemExit):
        main(["alerts", "--notify", "custom-webhook/day", "--sign-in-deployment", "no/such"])
    try:
        yield
    finally:
        with get_client(sync_client=True) as client:
            for automation in client.read_automations():
                client.delete_automation(automation.id)


@contextmanager
def logged(day: Day) -> Iterator[None]:
    """Keep what this process logs, at every level."""
    handler, root = logging.StreamHandler(day.log), logging.getLogger()
    levels = {root: root.level, logging.getLogger("httpcore"): logging.getLogger("httpcore").level}
    root.setLevel(logging.DEBUG)
    # It logs an answer's headers at DEBUG on purpose: that log shows what is on the wire.
    logging.getLogger("httpcore").setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in levels.items():
            logger.setLevel(level)


@pytest.fixture(scope="module")
def day(prefect_server: None, person_for: Any, inbox: Any, wait_until: Any) -> Iterator[Day]:
    """The whole day, from the first sign-in to the sign-out after midnight."""
    day = Day()
    day.plant("Redis password", REDIS_PASSWORD)
    day.plant("webhook key", WEBHOOK_KEY)
    day.plant("wrong verifier", WRONG_VERIFIER)
    clock = SimulatorClock(datetime(2027, 6, 15, 16, tzinfo=UTC))
    with Simulator(clock=clock) as simulator, pytest.MonkeyPatch.context() as patch:
        simulator.timestamp_tolerance = timedelta(days=10_000)  # all but the simulator use real time
        patch.setenv("ETRADE_OAUTH_URL", simulator.oauth_url)
        patch.setenv("ETRADE_API_URL", simulator.api_url("live"))
        patch.setenv("ETRADE_FIRST_BACKOFF", "0.001")
        patch.setattr("etrade_flows.person.form.POLL_SECONDS", 0.05)
        # No Redis answers there, so every renewal logs that it goes on without a lock.
        patch.setenv("ETRADE_LOCK_REDIS_URL", f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0")
        quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
        with quick, spied(day, simulator), notified(inbox), logged(day):
            login(day, simulator)
            pipeline()
            simulator.advance(timedelta(hours=3))  # idle, though the last renewal is still reused
            pipeline()
            asked = ("renew --force", "renew --json", "status", "status --json", "status --check")
            commands(day, *(f"{line} --credentials {NAME}" for line in (*asked, "doctor", "doctor --json")))
            faulty_renewals(day, simulator)
            sign_in_through_the_ui(day, person_for(simulator, NAME))
            with use_clock(lambda: datetime.now(UTC) + timedelta(days=1)):
                run_badly(day)
            commands(day, f"logout --credentials {NAME}")
            sign_out(NAME)
            end = last_word(return_state=True)
            wait_until(lambda: last_word_is_written(end.state_details.flow_run_id), 90)
            wait_until(lambda: len(inbox.about(NAME)) >= 4, 60)
        day.told = [sent["subject"] + sent["body"] for sent in inbox.received]
        yield day


def test_twelve_kinds_of_canary_were_planted(day: Day) -> None:
    """The day plants canaries of at least twelve kinds."""
    assert 12 <= len(day.canaries), sorted(day.canaries)


def test_terminal_shows_none(day: Day) -> None:
    """No command's screen shows a secret, apart from the two addresses that a person opens to sign in."""
    assert 2 == day.addresses
    assert {name: [] for name in day.screens} == {
        name: day.seen_in(screen) for name, screen in day.screens.items()
    }


def test_every_command_said_something(day: Day) -> None:
    """Every searched screen belongs to a command that did its work."""
    silent = [name for name, screen in day.screens.items() if len(screen) < 30 or "Traceback" in screen]
    assert [] == silent


def test_database_holds_none(day: Day, database: Callable[[], str]) -> None:
    """Neither events, logs, states, artifacts, parameters, inputs nor blocks show a secret."""
    content = database()
    logged = "Attempt 7 to renew"
    for part in ("etrade.session.signed-in", f"etrade-sign-in-{NAME}", "etrade.session.key-lapsing", logged):
        assert part in content
    if seen := day.seen_in(content):  # row by row the search takes a minute
        rows = re.split(r"^INSERT INTO ", content, flags=re.MULTILINE)
        pytest.fail(f"{seen}: {sorted({row.partition(' ')[0] for row in rows if day.seen_in(row)})}")


def test_files_hold_none(day: Day, files_at_rest: Callable[[], dict[str, bytes]]) -> None:
    """No file of the result storage or of the Prefect home shows a secret."""
    shown = {name: day.seen_in(content.decode(errors="replace")) for name, content in files_at_rest().items()}
    assert {name: [] for name in shown} == shown
    assert [name for name in shown if "etrade-session-live-" in name]


def test_logs_and_errors_hold_none(day: Day) -> None:
    """Nothing logged at any level, and nothing raised, shows a secret."""
    log = day.log.getvalue()
    assert "goes on without a lock" in log
    assert [] == day.seen_in(log)
    assert [] == day.seen_in("".join(day.raised))


def test_notifications_hold_none(day: Day) -> None:
    """The automations' notifications show no secret, not even the webhook's own."""
    assert "sign in for" in "".join(day.told)
    assert [] == day.seen_in("".join(day.told))


def test_sweep_would_find_one(day: Day) -> None:
    """The search would find a canary of each kind, encoded or not."""
    for kind, values in day.canaries.items():
        value = next(iter(values))
        assert kind in day.seen_in(f"something {quote(value, safe='')} something")
