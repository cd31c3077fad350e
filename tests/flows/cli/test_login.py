"""The commands `etrade-session login` and `logout`, at a terminal and in scripts."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from io import StringIO
from typing import TextIO
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect.settings import get_current_settings

from etrade_flows.person.login import ROUNDS, stored_credentials
from etrade_simulator import Consumer, Fault, Simulator
from etrade_tasks import ETradeCredentials
from etrade_tasks.load_credentials import load_block

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

Run = Callable[..., int]

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


class TestLoginAtATerminal:
    """`etrade-session login` with a person."""

    def test_what_waited_goes_on_if_asked(
        self, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """With `--rerun` the command says which waiting runs go on, and without it nothing about them."""
        assert 0 == run("login", "--credentials", block)
        assert "Going on" not in capsys.readouterr().err
        assert 0 == run("login", "--credentials", block, "--rerun")
        assert "Going on: nothing waited." in capsys.readouterr().err

    def test_server_that_is_gone_afterwards_fails_nothing(
        self,
        block: str,
        person: Person,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        """If the waiting runs cannot be read afterwards, the sign-in still succeeds and exits with 0."""

        def fail(credentials: str) -> list[str]:
            raise ConnectionError

        monkeypatch.setattr("etrade_flows.cli.login.let_go_on", fail)
        assert 0 == run("login", "--credentials", block, "--rerun")
        said = capsys.readouterr()
        assert ("Going on" in said.err, "over at" in said.out) == (False, True)

    def test_date_of_the_consumer_key_is_kept(self, block: str, person: Person, run: Run) -> None:
        """Once given, the date on which the key was issued stays in the block through later sign-ins."""
        assert 0 == run("login", "--credentials", block, "--key-issued-on", "2025-07-15")
        assert 0 == run("login", "--credentials", block)
        assert date(2025, 7, 15) == stored_credentials(block).consumer_key_issued_on

    @pytest.mark.essential
    def test_verifier_brings_a_new_token(
        self, simulator: Simulator, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """The page opens, the verifier is typed, and the block has a new token that E*TRADE accepts."""
        before = token_of(block)
        assert 0 == run("login", "--credentials", block)
        assert before != token_of(block)
        assert "2027-06-16 00:00 US Eastern" in capsys.readouterr().out
        with stored_credentials(block).get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code

    def test_end_says_until_when_one_is_signed_in(
        self, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """The last line says until when the person is signed in."""
        run("login", block)
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("Signed in until midnight, 2027-06-16 00:00 US Eastern (")

    def test_name_that_is_nearly_a_blocks_is_asked_about(
        self, block: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """Before it creates a new block, the command suggests an existing one with a similar name."""
        monkeypatch.setattr("sys.stdin", StringIO())
        assert 1 == run("login", f"{block}x")
        assert f"Did you mean '{block}'" in " ".join(capsys.readouterr().err.split())

    def test_address_is_printed_and_time_counts_down(
        self, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """The whole address is the first line of standard output, and the prompt shows the minutes left."""
        run("login", "--credentials", block)
        said = capsys.readouterr()
        assert person.opened == said.out.splitlines()[:1]
        assert re.search(r"Verifier \(stays hidden\), (5:00|4:5\d) left: ", said.err)

    def test_midnight_that_is_near_is_reported_first(
        self, simulator: Simulator, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """Late in the evening the command says how soon the new session ends, before it asks."""
        simulator.advance(timedelta(hours=10, minutes=30))
        run("login", "--credentials", block)
        before, _, _ = " ".join(capsys.readouterr().err.split()).partition("Verifier (stays hidden)")
        assert re.search(r"ends this session in (90|89) min: sign in after 00:00 instead", before)

    def test_terminal_is_as_it_was(self, block: str, person: Person, run: Run) -> None:
        """The echo, which was off while the verifier was typed, is on again afterwards."""
        run("login", "--credentials", block)
        assert True is person.echo()

    def test_wrong_verifier_starts_over(
        self, simulator: Simulator, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """The command reports a mistyped verifier and opens a new page, with which the sign-in succeeds."""
        person.reads_off = lambda page: (
            person.verifier_of(page) if len(person.opened) == 2 else person.verifier_of(page)[1:]
        )
        assert 0 == run("login", "--credentials", block)
        assert 2 == len(set(person.opened))
        assert "The verifier is not the one" in capsys.readouterr().err

    def test_wrong_verifiers_come_to_an_end(
        self, simulator: Simulator, block: str, person: Person, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """After the last wrong verifier the command exits with 4 and advice, and keeps the old token."""
        before = token_of(block)
        person.reads_off = lambda page: b"wrong\n"
        assert 4 == run("login", "--credentials", block)
        assert (ROUNDS, before) == (len(simulator.calls(REQUEST)), token_of(block))
        assert "Next: start the sign-in again" in capsys.readouterr().err

    def test_silence_comes_to_an_end(
        self,
        *,
        simulator: Simulator,
        block: str,
        person: Person,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        """When a request token expires, the command gets another one, and gives up if nobody answers."""
        monkeypatch.setattr("etrade_flows.cli.login.REQUEST_TOKEN_LIFETIME", timedelta(seconds=0.1))
        person.reads_off = lambda page: None
        assert 4 == run("login", "--credentials", block)
        assert ROUNDS == len(simulator.calls(REQUEST))
        assert "Five minutes have passed" in capsys.readouterr().err

    def test_empty_line_costs_nothing(
        self, simulator: Simulator, block: str, person: Person, run: Run
    ) -> None:
        """After an empty line the command asks again for the verifier of the same sign-in."""
        person.reads_off = lambda page: b"\n" + person.verifier_of(page)
        assert 0 == run("login", "--credentials", block)
        assert 1 == len(simulator.calls(REQUEST))

    def test_end_of_input_ends_it(self, simulator: Simulator, block: str, person: Person, run: Run) -> None:
        """Ctrl+D exits with 4 and begins no further sign-in."""
        person.reads_off = lambda page: END_OF_INPUT
        assert 4 == run("login", "--credentials", block)
        assert 1 == len(simulator.calls(REQUEST))

    def test_browser_is_left_alone_if_asked(self, block: str, person: Person, run: Run) -> None:
        """With --no-browser no page opens."""
        person.type(END_OF_INPUT)
        run("login", "--credentials", block, "--no-browser")
        assert [] == person.opened

    def test_text_browser_is_left_alone(
        self, block: str, person: Person, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """Without a screen no page opens: a text browser would cover the prompt."""
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
            monkeypatch.delenv(name, raising=False)
        person.type(END_OF_INPUT)
        run("login", "--credentials", block)
        assert [] == person.opened

    def test_secrets_are_not_shown(
        self,
        block: str,
        person: Person,
        credentials: ETradeCredentials,
        capsys: pytest.CaptureFixture[str],
        run: Run,
    ) -> None:
        """Neither a secret nor the verifier nor the new token is printed."""
        typed: list[str] = []
        person.reads_off = lambda page: (
            typed.append(person.verifier_of(page).decode().strip()) or (typed[-1].encode() + b"\n")
        )
        run("login", "--credentials", block)
        keys = stored_credentials(block).signing_keys
        secrets = [*typed, keys.consumer_secret, keys.token, keys.token_secret]
        said = "".join(capsys.readouterr())
        assert [] == [secret for secret in secrets if secret in said]


class TestLoginRefused:
    """`etrade-session login` when it cannot begin."""

    def test_other_environment_is_refused(
        self, simulator: Simulator, block: str, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """A live block cannot be signed in to as a sandbox one: a key works in only one environment."""
        assert 1 == run("login", "--credentials", block, "--environment", "sandbox")
        assert "has another environment: live" in " ".join(capsys.readouterr().err.split())
        assert [] == simulator.calls()

    @pytest.mark.parametrize("option", ["oauth-url", "api-url"])
    def test_other_address_is_refused(
        self,
        simulator: Simulator,
        block: str,
        capsys: pytest.CaptureFixture[str],
        run: Run,
        option: str,
    ) -> None:
        """An address that an existing block does not have is refused, not silently dropped."""
        assert 1 == run("login", "--credentials", block, f"--{option}", "http://127.0.0.1:9")
        assert f"has another {option.replace('-', '_')}" in " ".join(capsys.readouterr().err.split())
        assert [] == simulator.calls()

    def test_key_of_a_day_to_come_is_misuse(self, block: str, run: Run) -> None:
        """A date of issue in the future, which would never cause a warning, is refused with 2."""
        assert 2 == run("login", "--credentials", block, "--key-issued-on", "2052-07-15")

    def test_name_that_no_block_can_have_is_misuse(
        self, simulator: Simulator, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """A name that Prefect would refuse at the end is refused at the beginning, with 2."""
        assert 2 == run("login", "--credentials", "My Account")
        assert "small letters" in "".join(capsys.readouterr())

    def test_refused_consumer_key_is_not_stored(
        self, block: str, consumer: Consumer, person: Person, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """Keys that E*TRADE refuses are not stored, so the next attempt asks for them again."""
        monkeypatch.setenv("ETRADE_CONSUMER_KEY", "fake-key")
        monkeypatch.setenv("ETRADE_CONSUMER_SECRET", "fake-secret")
        run("login", "--credentials", f"{block}-new")
        assert None is load_block(f"{block}-new")

    def test_refused_consumer_key_exits_1(
        self, block: str, consumer: Consumer, person: Person, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A consumer key that E*TRADE does not know exits with 1 before any page opens."""
        monkeypatch.setenv("ETRADE_CONSUMER_KEY", "fake-key")
        monkeypatch.setenv("ETRADE_CONSUMER_SECRET", "fake-secret")
        assert 1 == run("login", "--credentials", f"{block}-new")
        assert [] == person.opened

    @pytest.mark.parametrize(
        ("spoiled", "told"),
        [
            ({"ETRADE_CONSUMER_KEY": "'canary'"}, "is in quotes"),
            ({"ETRADE_CONSUMER_SECRET": "canary%3D"}, "is still percent-encoded"),
            ({"ETRADE_ENVIRONMENT": '"canary"'}, "is in quotes"),
        ],
    )
    @pytest.mark.usefixtures("consumer")
    def test_spoiled_variable_is_named(
        self,
        spoiled: dict[str, str],
        told: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        run: Run,
    ) -> None:
        """If a new block's value is in quotes or encoded, the error names its variable, not the value."""
        fine = {"ETRADE_CONSUMER_KEY": "fake-key", "ETRADE_CONSUMER_SECRET": "fake-secret"}
        for name, value in (fine | spoiled).items():
            monkeypatch.setenv(name, value)
        assert 1 == run("login", "--credentials", "of-spoiled-variables")
        said = " ".join(capsys.readouterr().err.split())
        assert [] == [name for name in spoiled if f"{name}: {told}" not in said]
        assert "canary" not in said

    def test_missing_keys_in_a_script_exit_1(
        self, block: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """If nobody can be asked for the keys, the error names the variables that are needed."""
        reading, writing = os.pipe()
        os.close(writing)
        with os.fdopen(reading) as closed:
            monkeypatch.setattr("sys.stdin", closed)
            assert 1 == run("login", "--credentials", f"{block}-new")
        assert "ETRADE_CONSUMER_SECRET" in capsys.readouterr().err

    def test_missing_verifier_in_a_script_exits_4(
        self, simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """If a script's input ends without a verifier, the command exits with 4 after a single sign-in."""
        reading, writing = os.pipe()
        os.close(writing)
        with os.fdopen(reading) as closed:
            monkeypatch.setattr("sys.stdin", closed)
            assert 4 == run("login", "--credentials", block)
        assert 1 == len(simulator.calls(REQUEST))


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
def start(simulator: Simulator, block: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command in its own process and terminal session."""
    simulator.timestamp_tolerance = timedelta(days=10_000)  # that process uses the machine's clock
    started: list[subprocess.Popen[str]] = []
    as_users_have_it = {
        "PREFECT_API_URL": get_current_settings().api.url,
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "warn",
    }

    def popen(*arguments: str, stdin: int, **variables: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, *arguments],
                env=os.environ | as_users_have_it | variables,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield popen
    for process in started:
        process.kill()
        process.communicate()


def answer_by_pipe(simulator: Simulator, process: subprocess.Popen[str]) -> None:
    """Read the address from the command's output, send the verifier, and check that it succeeds."""
    verifier = simulator.approve(request_token_in(process.stdout.readline().strip()))
    _, errors = process.communicate(f"{verifier}\n", timeout=60)
    assert (0, False) == (process.returncode, "Warning" in errors), errors


def test_script_signs_in_by_pipes(
    simulator: Simulator, block: str, consumer: Consumer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A script can pass the keys in the environment, read the address, and answer on standard input."""
    process = start(
        *("login", "--credentials", f"{block}-new", "--environment", "sandbox"),
        stdin=subprocess.PIPE,
        ETRADE_CONSUMER_KEY=consumer.key,
        ETRADE_CONSUMER_SECRET=consumer.secret,
    )
    answer_by_pipe(simulator, process)
    assert consumer.key == stored_credentials(f"{block}-new").signing_keys.consumer_key


def test_new_block_is_what_the_environment_says(
    simulator: Simulator, block: str, consumer: Consumer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A new block takes environment and key date from their variables, so a sandbox key stays one."""
    process = start(
        *("login", "--credentials", f"{block}-new"),
        stdin=subprocess.PIPE,
        ETRADE_CONSUMER_KEY=consumer.key,
        ETRADE_CONSUMER_SECRET=consumer.secret,
        ETRADE_ENVIRONMENT="sandbox",
        ETRADE_CONSUMER_KEY_ISSUED_ON="2025-07-15",
    )
    answer_by_pipe(simulator, process)
    new = stored_credentials(f"{block}-new")
    assert ("sandbox", date(2025, 7, 15)) == (new.environment, new.consumer_key_issued_on)


def test_script_may_give_the_keys_on_standard_input(
    simulator: Simulator, block: str, consumer: Consumer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Keys that are not in the environment are read from the first two lines, the verifier from the third."""
    new = ("login", "--credentials", f"{block}-new", "--environment", "sandbox")
    process = start(*new, stdin=subprocess.PIPE)
    process.stdin.write(f"{consumer.key}\n{consumer.secret}\n")
    process.stdin.flush()
    answer_by_pipe(simulator, process)
    assert consumer.key == stored_credentials(f"{block}-new").signing_keys.consumer_key


def read_until(stream: TextIO, ending: str) -> str:
    """Read the stream up to and including this ending."""
    said = ""
    while not said.endswith(ending):
        character = stream.read(1)
        assert character, f"it ended after {said!r}"
        said += character
    return said


def test_first_sign_in_asks_for_the_consumer_keys(
    simulator: Simulator, block: str, consumer: Consumer, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """At a terminal the command asks for a new block's key and secret, and shows neither."""
    keyboard, terminal = pty.openpty()
    arguments = ("login", "--credentials", f"{block}-new", "--environment", "sandbox", "--no-browser")
    process = start(*arguments, stdin=terminal)
    for prompt, typed in (
        ("key (stays hidden): ", consumer.key),
        ("secret (stays hidden): ", consumer.secret),
    ):
        read_until(process.stderr, prompt)
        os.write(keyboard, typed.encode() + b"\n")
    verifier = simulator.approve(request_token_in(process.stdout.readline().strip()))
    read_until(process.stderr, "left: ")
    os.write(keyboard, verifier.encode() + b"\n")
    _, errors = process.communicate(timeout=60)
    assert (0, False) == (process.returncode, "Warning" in errors), errors
    keys = stored_credentials(f"{block}-new").signing_keys
    assert (consumer.key, consumer.secret) == (keys.consumer_key, keys.consumer_secret)
    echoes, _, _ = select.select([keyboard], [], [], 0)
    echoed = os.read(keyboard, 4096).decode() if echoes else ""
    assert [] == [typed for typed in (consumer.key, consumer.secret, verifier) if typed in echoed]
    os.close(keyboard)
    os.close(terminal)


@pytest.mark.parametrize(("ends", "code"), [(END_OF_INPUT, 4), (INTERRUPT, 130)])
def test_keys_of_a_new_block_are_typed_once(
    *,
    simulator: Simulator,
    block: str,
    consumer: Consumer,
    start: Callable[..., subprocess.Popen[str]],
    ends: bytes,
    code: int,
) -> None:
    """After two wrong verifiers and Ctrl+D or Ctrl+C, the next sign-in asks only for the verifier."""
    keyboard, terminal = pty.openpty()
    new = ("login", "--credentials", f"{block}-new", "--environment", "sandbox", "--no-browser")
    keys_given = {"ETRADE_CONSUMER_KEY": consumer.key, "ETRADE_CONSUMER_SECRET": consumer.secret}
    process = start(*new, stdin=terminal, **keys_given)
    for typed in (b"wrong\n", b"wrong\n", ends):
        read_until(process.stderr, "left: ")
        os.write(keyboard, typed)
    _, errors = process.communicate(timeout=60)
    assert code == process.returncode, errors
    assert None is stored_credentials(f"{block}-new").access_token
    process = start(*new, stdin=terminal)
    verifier = simulator.approve(request_token_in(process.stdout.readline().strip()))
    asked = read_until(process.stderr, "left: ")
    os.write(keyboard, verifier.encode() + b"\n")
    _, errors = process.communicate(timeout=60)
    assert (0, False) == (process.returncode, "Consumer" in asked), errors
    os.close(keyboard)
    os.close(terminal)


def test_interrupt_at_the_prompt_exits_130(
    simulator: Simulator,
    block: str,
    start: Callable[..., subprocess.Popen[str]],
    wait_until: Callable[..., None],
) -> None:
    """Ctrl+C at the prompt exits with 130, prints no traceback, and restores the terminal's echo."""
    keyboard, terminal = pty.openpty()
    process = start("login", "--credentials", block, "--no-browser", stdin=terminal)
    wait_until(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO, seconds=60)
    os.write(keyboard, INTERRUPT)
    _, errors = process.communicate(timeout=30)
    assert (130, False) == (process.returncode, "Traceback" in errors)
    assert termios.tcgetattr(terminal)[3] & termios.ECHO
    os.close(keyboard)
    os.close(terminal)


class TestLogout:
    """`etrade-session logout`."""

    def test_token_is_revoked_and_forgotten(
        self, simulator: Simulator, block: str, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """`logout` revokes the token at E*TRADE, and the next renewal asks for a sign-in."""
        assert 0 == run("logout", "--credentials", block)
        assert "revoked and removed" in " ".join(capsys.readouterr().err.split())
        assert [200] == [call.status for call in simulator.calls(REVOKE)]
        assert 4 == run("renew", "--credentials", block)

    def test_next_login_needs_no_keys(
        self, simulator: Simulator, block: str, person: Person, run: Run
    ) -> None:
        """The consumer keys stay, so the next sign-in needs only a verifier."""
        run("logout", "--credentials", block)
        assert 0 == run("login", "--credentials", block)

    def test_failed_revocation_keeps_the_token(
        self, simulator: Simulator, block: str, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """If E*TRADE does not confirm the revocation, the command exits with 1 and keeps the token."""
        before = token_of(block)
        simulator.plant(Fault(status=500), path=REVOKE, times=9)
        assert 1 == run("logout", "--credentials", block)
        assert before == token_of(block)
        assert "The token stays in the block" in " ".join(capsys.readouterr().err.split())

    def test_unknown_credentials_exit_1(self, prefect_server: None, run: Run) -> None:
        """A name without a block exits with 1."""
        assert 1 == run("logout", "--credentials", "nobody")


def test_help_names_both_commands(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    """The command's own help lists login and logout."""
    assert 0 == run()
    shown = capsys.readouterr().out
    assert [] == [word for word in ("login", "logout") if word not in shown]
