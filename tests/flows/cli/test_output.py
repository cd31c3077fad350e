"""How the command's output fits a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from datetime import datetime
from io import StringIO

import pytest
from rich.console import Console

from etrade_flows.cli import demo
from etrade_flows.cli.output import report_error
from etrade_simulator import Simulator, SimulatorClock
from etrade_tasks.errors import ERRORS, SignInRequired, sign_in_advice
from etrade_tasks.session import EASTERN

WIDTHS = pytest.mark.parametrize("width", [80, 60])

_STYLE = re.compile(r"\x1b\[[0-9;]*m")

Screen = Callable[..., list[str]]


@pytest.fixture
def screen() -> Screen:
    """Runs Python in a terminal of that width, and returns the lines that a person sees, without styles."""

    def show(width: int, *arguments: str) -> list[str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        with subprocess.Popen(
            [sys.executable, *arguments],
            env=kept | {"TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            printed = _all_of(ours)
            os.close(ours)
        assert 0 == process.returncode, printed
        return _STYLE.sub("", printed).splitlines()

    return show


def _all_of(terminal: int) -> str:
    """All output until nobody has the terminal open any more."""
    said = b""
    while True:
        try:
            said += os.read(terminal, 4096)
        except OSError:  # what Linux raises at a terminal's end
            return said.decode()


def words(lines: list[str]) -> list[str]:
    """The words of these lines; a word that was cut in two counts as two."""
    return " ".join(lines).split()


SAYS = "What is so, in as many words as fill a line of a terminal and begin another one."
SHOW_ALL = f"""
from etrade_flows.cli.output import report_error
from etrade_tasks.errors import ERRORS, sign_in_advice

for error in ERRORS.values():
    report_error(error({SAYS!r}))
report_error(error({SAYS!r}, advice=sign_in_advice("etrade")))
"""


@WIDTHS
def test_errors_are_wrapped_between_words(width: int, screen: Screen) -> None:
    """No line of an error is longer than the terminal is wide, and no word is cut in two."""
    lines = screen(width, "-c", SHOW_ALL)
    assert [] == [line for line in lines if len(line) > width]
    told = [f"{name}: {SAYS} Next: {error.default_advice}" for name, error in ERRORS.items()]
    told += [f"{list(ERRORS)[-1]}: {SAYS} Next: {sign_in_advice('etrade')}"]
    assert words(told) == words(lines)


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
        demo.Day(console, simulator).tell(
            "A pipeline asks for the accounts", "401, the token is inactive now"
        )
        demo.show_the_end(console, SignInRequired("What is so.", advice=sign_in_advice("demo")))
    lines = console.file.getvalue().splitlines()
    assert [] == [line for line in lines if len(line.rstrip()) > width]
    assert " 09:00  A pipeline asks for the accounts" == lines[0][:40]
    told = " ".join(words(lines))
    assert "401, the token is inactive now" in told.partition("What")[0]
    assert f"What is so. Next: {sign_in_advice('demo')}" in told
    assert re.search(r"make up.*etrade-session login", told)


WAIT = """
from etrade_flows.cli.output import waiting

with waiting("Renewing", as_json={}):
    pass
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_waiting_is_seen_at_a_terminal(as_json: bool, screen: Screen) -> None:
    """While a command waits, the terminal shows what it waits for, except with --json."""
    assert (not as_json) == ("Renewing" in "".join(screen(80, "-c", WAIT.format(as_json))))
