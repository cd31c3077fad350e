"""How the command's output fits a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from io import StringIO

import pytest
from rich.console import Console

from etrade_flows.cli import demo
from etrade_flows.cli.output import report_error, waiting
from etrade_simulator import Simulator, SimulatorClock
from etrade_tasks.errors import ERRORS, ETradeError, SignInRequired, VerifierRefused, sign_in_advice
from etrade_tasks.session import EASTERN

Seen = Callable[[], list[str]]
WIDTHS = pytest.mark.parametrize("width", [80, 60])

_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[int], Seen]:
    """Makes the output a terminal of that width; returns what gives the lines on it, without styles."""

    def make(width: int) -> Seen:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("FORCE_COLOR", "1")
        return lambda: _STYLE.sub("", capsys.readouterr().err).splitlines()

    return make


def words(lines: list[str]) -> list[str]:
    """The words of these lines; a word that was cut in two counts as two."""
    return " ".join(lines).split()


SAYS = "What is so, in as many words as fill a line of a terminal and begin another one."


@WIDTHS
def test_errors_are_wrapped_between_words(width: int, terminal: Callable[[int], Seen]) -> None:
    """No line of an error is longer than the terminal is wide, and no word is cut in two."""
    seen = terminal(width)
    errors = [error(SAYS) for error in ERRORS.values()]
    errors.append(SignInRequired(SAYS, advice=sign_in_advice("etrade")))
    for error in errors:
        report_error(error)
    lines = seen()
    assert [] == [line for line in lines if len(line) > width]
    told = [f"{type(error).__name__}: {SAYS} Next: {error.advice}" for error in errors]
    assert words(told) == words(lines)


@pytest.mark.parametrize("kind", ERRORS.values())
def test_exit_code_says_whether_to_sign_in(kind: type[ETradeError]) -> None:
    """An error exits with 4 if a person must sign in, and else with 1."""
    assert (4 if issubclass(kind, (SignInRequired, VerifierRefused)) else 1) == report_error(kind(SAYS))


def test_error_in_a_file_is_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """If standard error is not a terminal, message and advice are one line each, so a search finds both."""
    error = SignInRequired("What is so. " * 20, advice=sign_in_advice("etrade"))
    report_error(error)
    said, advice = capsys.readouterr().err.splitlines()
    assert f"SignInRequired: {error.message}".strip() == said.strip()
    assert f"Next: {error.advice}" == advice


@WIDTHS
def test_demo_fits(width: int) -> None:
    """A long line of the demo continues under its own column, and no word is cut in two."""
    console = Console(width=width, file=StringIO(), highlight=False)
    with Simulator(clock=SimulatorClock(datetime(2027, 6, 15, 9, tzinfo=EASTERN))) as simulator:
        demo.Day(console, simulator).tell("A pipeline asks for the accounts", "401, the token is idle now")
        demo.show_the_end(console, SignInRequired("What is so.", advice=sign_in_advice("demo")))
    lines = console.file.getvalue().splitlines()
    assert [] == [line for line in lines if len(line.rstrip()) > width]
    assert " 09:00  A pipeline asks for the accounts" == lines[0][:40]
    told = " ".join(words(lines))
    assert "401, the token is idle now" in told.partition("What")[0]
    assert f"What is so. Next: {sign_in_advice('demo')}" in told
    assert re.search(r"make up.*etrade-session login", told)


@pytest.mark.parametrize("as_json", [False, True])
def test_waiting_is_seen_at_a_terminal(as_json: bool, terminal: Callable[[int], Seen]) -> None:
    """While a command waits, the terminal shows what it waits for, except with --json."""
    seen = terminal(80)
    with waiting("Renewing", as_json):
        pass
    assert (not as_json) == ("Renewing" in "".join(seen()))
