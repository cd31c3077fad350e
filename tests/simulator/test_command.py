"""The simulator as a command."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

pytestmark = pytest.mark.starts_programs

COMMAND = [sys.executable, "-m", "etrade_flows.cli.app", "simulator"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Runs the command; gives its process and what it prints until it serves."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(9)]
            yield process, "".join(lines)
        finally:
            process.kill()


def test_the_command_prints_where_it_serves() -> None:
    """The printed address answers, and without ``--control`` it has no control routes."""
    with running() as (_, printed):
        url = re.search(r"http://127\.0\.0\.1:\d+", printed)[0]
        assert f"{url}/oauth\n" in printed
        assert f"{url}/sandbox/v1\n" in printed
        with requests.get(f"{url}/_control/clock", timeout=5) as answer:
            assert 404 == answer.status_code


def test_the_command_prints_keys_and_what_they_are_worth() -> None:
    """The command prints two sample consumers, and says that they are worthless elsewhere."""
    with running() as (_, printed):
        assert "worthless elsewhere" in printed
        assert (2, 2) == (
            len(re.findall(r"\b[0-9a-f]{32}\b", printed)),
            len(re.findall(r"\b[0-9a-f]{64}\b", printed)),
        )


def test_control_is_served_when_asked_for() -> None:
    """With ``--control`` the clock can be read."""
    with running("--control") as (_, printed):
        url = re.search(r"http://127\.0\.0\.1:\d+", printed)[0]
        with requests.get(f"{url}/_control/clock", timeout=5) as answer:
            assert 200 == answer.status_code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly_when_told_to(number: signal.Signals) -> None:
    """If it is interrupted or terminated, it ends with status 0 and prints no error."""
    with running() as (process, _):
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
        assert (0, "") == (process.returncode, complaint)
