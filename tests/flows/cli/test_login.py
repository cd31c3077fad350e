"""The commands `etrade-session login` and `logout`, at a terminal and in scripts."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from io import StringIO
from typing import TextIO
from urllib.parse import parse_qs, urlsplit

import pytest

from etrade_flows.person.login import ROUNDS, stored_credentials
from etrade_simulator import Consumer, Simulator
from etrade_tasks.load_credentials import load_block

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

Run = Callable[..., int]
Login = Callable[..., tuple[int, str]]

REQUEST, REVOKE = "/request_token", "/revoke_access_token"
END_OF_INPUT = b"\x04"
INTERRUPT = b"\x03"


def request_token_in(address: str) -> str:
    return parse_qs(urlsplit(address).query)["token"][0]


def token_of(block: str) -> str | None:
    return stored_credentials(block).signing_keys.token


class Person:
    """A person at a terminal, who sees the pages that the command opens, and types when it asks.

    The command discards what is typed before it turns the terminal's echo off, as for a password. So the
    person waits for that before typing.

    Attributes:
        stdin: The terminal, for the command to read.
        opened: The addresses that the command has opened.
        reads_off: What the person types after each page: its verifier, unless a test changes that.
    """

    def __init__(self, simulator: Simulator, wait_until: Callable[..., None]) -> None:
        self._keyboard, terminal = pty.openpty()
        self.stdin = os.fdopen(terminal)
        self.opened: list[str] = []
        self.reads_off: Callable[[str], bytes | None] = self.verifier_of
        self._simulator, self._wait_until = simulator, wait_until
        self._hands = ThreadPoolExecutor(max_workers=1)
        self._typed: list[Future[None]] = []

    def verifier_of(self, address: str) -> bytes:
        """The verifier that the page at this address shows, and the Enter key."""
        return self._simulator.approve(request_token_in(address)).encode() + b"\n"

    def open(self, address: str) -> bool:
        """Look at a page, and type what `reads_off` returns for it."""
        self.opened.append(address)
        if keys := self.reads_off(address):
            self.type(keys)
        return True

    def type(self, keys: bytes) -> None:
        """Type once the terminal's echo is off."""
        self._typed.append(self._hands.submit(self._type, keys))

    def _type(self, keys: bytes) -> None:
        self._wait_until(lambda: not self.echo(), seconds=30)
        os.write(self._keyboard, keys)

    def echo(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self.stdin.fileno())[3] & termios.ECHO)

    def leave(self) -> None:
        """Close the terminal, once all is typed."""
        self._hands.shutdown()
        for typed in self._typed:
            typed.result()
        self.stdin.close()
        os.close(self._keyboard)


@pytest.fixture
def person(
    simulator: Simulator, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    """A person at a terminal, which is the command's standard input."""
    someone = Person(simulator, wait_until)
    monkeypatch.setattr("sys.stdin", someone.stdin)
    monkeypatch.setattr("webbrowser.open", someone.open)
    monkeypatch.setenv("DISPLAY", ":fake")
    yield someone
    someone.leave()


@pytest.fixture
def consumer(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """A sandbox consumer that is in no block; the variables hold the simulator's addresses."""
    monkeypatch.setenv("ETRADE_OAUTH_URL", simulator.oauth_url)
    monkeypatch.setenv("ETRADE_API_URL", simulator.api_url("sandbox"))
    return simulator.consumer("sandbox")


@pytest.fixture
def no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard input that is no terminal and has ended."""
    monkeypatch.setattr("sys.stdin", StringIO())


@pytest.fixture
def login(block: str, run: Run, capsys: pytest.CaptureFixture[str]) -> Login:
    """Runs `login`, by default for the test's block; returns its exit code, and its messages on one line."""

    def ask(*options: str, name: str = block) -> tuple[int, str]:
        code = run("login", "--credentials", name, *options)
        return code, " ".join(capsys.readouterr().err.split())

    return ask


class TestLoginAtATerminal:
    """`etrade-session login` with a person."""

    def test_what_waited_goes_on_if_asked(self, person: Person, login: Login) -> None:
        """With `--rerun` the command says which waiting runs go on."""
        code, told = login("--rerun")
        assert (0, True) == (code, "Going on: nothing waited." in told)

    def test_server_that_is_gone_afterwards_fails_nothing(
        self, person: Person, login: Login, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the waiting runs cannot be read afterwards, the sign-in still succeeds and exits with 0."""

        def fail(credentials: str) -> list[str]:
            raise ConnectionError

        monkeypatch.setattr("etrade_flows.cli.login.let_go_on", fail)
        code, told = login("--rerun")
        assert (0, False) == (code, "Going on" in told)

    def test_date_of_the_consumer_key_is_kept(self, block: str, person: Person, login: Login) -> None:
        """The date on which the key was issued is stored, and the sign-in keeps it."""
        login("--key-issued-on", "2025-07-15")
        assert date(2025, 7, 15) == stored_credentials(block).consumer_key_issued_on

    @pytest.mark.essential
    def test_verifier_brings_a_new_token(
        self, simulator: Simulator, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """The page opens, the verifier is typed unseen, and E*TRADE accepts the block's new token."""
        before = token_of(block)
        assert 0 == run("login", block)
        assert before != token_of(block)
        with stored_credentials(block).get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code
        said = capsys.readouterr()
        first, *_, last = said.out.splitlines()
        assert [first] == person.opened  # the whole address is alone on the first line
        assert last.startswith("Signed in until midnight, 2027-06-16 00:00 US Eastern (")
        assert re.search(r"Verifier \(stays hidden\), (5:00|4:5\d) left: ", said.err)
        assert (True, False) == (person.echo(), "Going on" in said.err)

    def test_midnight_that_is_near_is_reported_first(
        self, simulator: Simulator, person: Person, login: Login
    ) -> None:
        """Late in the evening the command says how soon the new session ends, before it asks."""
        simulator.advance(timedelta(hours=10, minutes=30))
        before, _, _ = login()[1].partition("Verifier (stays hidden)")
        assert re.search(r"ends this session in (90|89) min: sign in after 00:00 instead", before)

    def test_wrong_verifier_starts_over(self, person: Person, login: Login) -> None:
        """The command reports a mistyped verifier and opens a new page, with which the sign-in succeeds."""
        person.reads_off = lambda page: (
            person.verifier_of(page) if len(person.opened) == 2 else person.verifier_of(page)[1:]
        )
        code, told = login()
        assert (0, True) == (code, "The verifier is not the one" in told)
        assert 2 == len(set(person.opened))

    def test_wrong_verifiers_come_to_an_end(
        self, simulator: Simulator, block: str, person: Person, login: Login
    ) -> None:
        """After the last wrong verifier the command exits with 4 and advice, and keeps the old token."""
        before = token_of(block)
        person.reads_off = lambda page: b"wrong\n"
        code, told = login()
        assert (4, True) == (code, "Next: start the sign-in again" in told)
        assert (ROUNDS, before) == (len(simulator.calls(REQUEST)), token_of(block))

    def test_silence_comes_to_an_end(
        self, simulator: Simulator, person: Person, login: Login, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When a request token expires, the command gets another one, and gives up if nobody answers."""
        monkeypatch.setattr("etrade_flows.cli.login.REQUEST_TOKEN_LIFETIME", timedelta(seconds=0.1))
        person.reads_off = lambda page: None
        code, told = login()
        assert (4, True) == (code, "Five minutes have passed" in told)
        assert ROUNDS == len(simulator.calls(REQUEST))

    def test_empty_line_costs_nothing(self, simulator: Simulator, person: Person, login: Login) -> None:
        """After an empty line the command asks again for the verifier of the same sign-in."""
        person.reads_off = lambda page: b"\n" + person.verifier_of(page)
        assert (0, 1) == (login()[0], len(simulator.calls(REQUEST)))

    @pytest.mark.parametrize("options", [["--no-browser"], []], ids=["unwanted", "no screen"])
    def test_page_is_only_printed(
        self,
        simulator: Simulator,
        person: Person,
        login: Login,
        monkeypatch: pytest.MonkeyPatch,
        options: list[str],
    ) -> None:
        """With --no-browser or without a screen no page opens, and Ctrl+D at the prompt exits with 4."""
        if not options:
            for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
                monkeypatch.delenv(name, raising=False)
        person.type(END_OF_INPUT)
        assert (4, []) == (login(*options)[0], person.opened)
        assert 1 == len(simulator.calls(REQUEST))


class TestLoginRefused:
    """`etrade-session login` when it cannot begin."""

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("environment", "sandbox"),
            ("oauth-url", "http://127.0.0.1:9"),
            ("api-url", "http://127.0.0.1:9"),
        ],
    )
    def test_what_the_block_does_not_have_is_refused(
        self, simulator: Simulator, login: Login, option: str, value: str
    ) -> None:
        """An environment or address that an existing block does not have is refused, not silently dropped."""
        code, told = login(f"--{option}", value)
        assert (1, True) == (code, f"has another {option.replace('-', '_')}: " in told)
        assert [] == simulator.calls()

    def test_refused_consumer_key_is_not_stored(
        self, block: str, consumer: Consumer, person: Person, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """Keys that E*TRADE refuses exit with 1 before any page opens, and are not stored."""
        monkeypatch.setenv("ETRADE_CONSUMER_KEY", "fake-key")
        monkeypatch.setenv("ETRADE_CONSUMER_SECRET", "fake-secret")
        assert 1 == run("login", "--credentials", f"{block}-new")
        assert ([], None) == (person.opened, load_block(f"{block}-new"))

    @pytest.mark.usefixtures("consumer")
    def test_spoiled_variables_are_named(self, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
        """If values of a new block are in quotes or encoded, the error names their variables alone."""
        monkeypatch.setenv("ETRADE_CONSUMER_KEY", "'canary'")
        monkeypatch.setenv("ETRADE_CONSUMER_SECRET", "canary%3D")
        monkeypatch.setenv("ETRADE_ENVIRONMENT", '"canary"')
        code, told = login(name="of-spoiled-variables")
        assert "ETRADE_CONSUMER_KEY: is in quotes" in told
        assert "ETRADE_CONSUMER_SECRET: is still percent-encoded" in told
        assert "ETRADE_ENVIRONMENT: is in quotes" in told
        assert (1, False) == (code, "canary" in told)

    def test_missing_keys_in_a_script_exit_1(self, block: str, no_input: None, login: Login) -> None:
        """Without a block, a similar name is suggested; without input, the error names the variables."""
        code, told = login(name=f"{block}x")
        assert (1, True) == (code, f"Did you mean '{block}'" in told)
        assert "ETRADE_CONSUMER_SECRET" in told

    def test_missing_verifier_in_a_script_exits_4(
        self, simulator: Simulator, no_input: None, login: Login
    ) -> None:
        """If a script's input ends without a verifier, the command exits with 4 after a single sign-in."""
        assert (4, 1) == (login()[0], len(simulator.calls(REQUEST)))


COMMAND = """
import os
import signal
from etrade_flows.cli import app as cli
if os.isatty(0):
    os.close(os.open(os.ttyname(0), os.O_RDWR))  # the terminal is this process's own, Ctrl+C and all
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the tests' own parent may ignore
cli.main()
"""


@pytest.fixture
def start(
    simulator: Simulator, block: str, start_python: Callable[..., subprocess.Popen[str]]
) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command in its own process and terminal session, as users have it."""
    simulator.timestamp_tolerance = timedelta(days=10_000)  # that process uses the machine's clock
    return partial(start_python, "-c", COMMAND, PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="warn")


def test_script_signs_in_by_pipes(
    simulator: Simulator, block: str, consumer: Consumer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A script describes a new block in variables, reads the address, and gives each answer as a line."""
    process = start(
        *("login", "--credentials", f"{block}-new"),
        ETRADE_ENVIRONMENT="sandbox",
        ETRADE_CONSUMER_KEY_ISSUED_ON="2025-07-15",
    )
    process.stdin.write(f"{consumer.key}\n{consumer.secret}\n")
    process.stdin.flush()
    verifier = simulator.approve(request_token_in(process.stdout.readline().strip()))
    _, errors = process.communicate(f"{verifier}\n", timeout=60)
    assert (0, False) == (process.returncode, "Warning" in errors), errors
    new = stored_credentials(f"{block}-new")
    assert consumer.key == new.signing_keys.consumer_key
    assert ("sandbox", date(2025, 7, 15)) == (new.environment, new.consumer_key_issued_on)


def read_until(stream: TextIO, ending: str) -> str:
    """Read the stream up to and including this ending."""
    said = ""
    while not said.endswith(ending):
        character = stream.read(1)
        assert character, f"it ended after {said!r}"
        said += character
    return said


def test_keys_of_a_new_block_are_typed_once(
    block: str, consumer: Consumer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """At a terminal the keys of a new block are typed unseen, and kept when Ctrl+C exits with 130."""
    keyboard, terminal = pty.openpty()
    new = ("login", "--credentials", f"{block}-new", "--environment", "sandbox", "--no-browser")
    process = start(*new, stdin=terminal)
    typed = {"key (stays": consumer.key, "secret (stays": consumer.secret, "Verifier (stays": "fake-wrong"}
    for prompt, answer in typed.items():
        read_until(process.stderr, prompt)
        read_until(process.stderr, ": ")
        os.write(keyboard, answer.encode() + b"\n")
    read_until(process.stderr, "left: ")
    os.write(keyboard, INTERRUPT)
    _, errors = process.communicate(timeout=60)
    assert (130, False, False) == (process.returncode, "Traceback" in errors, "Warning" in errors), errors
    assert termios.tcgetattr(terminal)[3] & termios.ECHO
    stored = stored_credentials(f"{block}-new")
    assert (consumer.key, consumer.secret) == (
        stored.consumer_keys.consumer_key,
        stored.consumer_keys.consumer_secret,
    )
    assert None is stored.access_token
    echoes, _, _ = select.select([keyboard], [], [], 0)
    echoed = os.read(keyboard, 4096).decode() if echoes else ""
    assert [] == [answer for answer in typed.values() if answer in echoed]
    os.close(keyboard)
    os.close(terminal)


def test_logout_revokes_and_removes_the_token(
    simulator: Simulator, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    """`logout` revokes the token, the next renewal asks for a sign-in, and that needs only a verifier."""
    assert 0 == run("logout", "--credentials", block)
    assert "revoked and removed" in " ".join(capsys.readouterr().err.split())
    assert [200] == [call.status for call in simulator.calls(REVOKE)]
    assert [4, 0] == [run("renew", "--credentials", block), run("login", "--credentials", block)]
