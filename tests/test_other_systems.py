"""The package can be imported where Unix's own modules are missing, as on Windows."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable
from math import inf

import pytest

from etrade_flows.cli.login import _read_line
from etrade_tasks import SignInRequired
from etrade_tasks.errors import VerifierRefused

pytestmark = pytest.mark.starts_programs

IMPORT_ALL = """
import os, signal, sys

import prefect.main, cyclopts, filelock, httpx, rich.console, uvicorn  # what others do is not looked at

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in UNIX:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

UNIX = {"termios", "tty", "pty", "fcntl", "resource", "pwd", "grp", "readline", "curses", "syslog"}
for name in UNIX:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT", "setitimer", "pthread_sigmask"):
    delattr(signal, name)
for name in ("fchmod", "fork", "killpg", "getuid", "geteuid", "chown", "getpgid", "setsid", "O_NOFOLLOW"):
    delattr(os, name)

import importlib, pkgutil

for package in ("etrade_tasks", "etrade_flows", "etrade_simulator"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""


def test_every_module_can_be_imported(run_python: Callable[..., str]) -> None:
    """No module needs a Unix module when it is imported."""
    assert "etrade_flows.cli.login" in run_python("-c", IMPORT_ALL).split()


@pytest.fixture
def no_termios(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal where Python can only ask to hide what is typed."""
    monkeypatch.setitem(sys.modules, "termios", None)


@pytest.mark.usefixtures("no_termios")
class TestHiddenLine:
    """What a person types if a countdown cannot be shown."""

    def test_first_line_with_text_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty line is asked for again, and blanks around the text are removed."""
        lines = iter(["", "  ", " FAKE1 "])
        monkeypatch.setattr(getpass, "getpass", lambda prompt: next(lines))
        assert "FAKE1" == _read_line("Verifier", inf)

    def test_late_line_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line that comes too late is refused."""
        monkeypatch.setattr(getpass, "getpass", lambda prompt: "FAKE1")
        with pytest.raises(VerifierRefused, match="Five minutes"):
            _read_line("Verifier", time.monotonic() - 1)

    def test_end_of_input_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the input ends, it says that nobody is signed in."""

        def end(prompt: str) -> str:
            raise EOFError

        monkeypatch.setattr(getpass, "getpass", end)
        with pytest.raises(SignInRequired, match="input ended"):
            _read_line("Verifier", inf)
