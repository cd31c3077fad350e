"""The command `etrade-session exec`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from etrade_flows.cli.renew import with_name_as_option
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials
from etrade_tasks.credentials import ENVIRONMENT_VARIABLES, credentials_from_environment, environment_of

Run = Callable[..., int]

SHOW = "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n.startswith('ETRADE_')}))"


def test_variables_stand_for_the_same_credentials(
    credentials: ETradeCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that a program gets load as the same credentials."""
    for name, value in environment_of(credentials).items():
        monkeypatch.setenv(name, value)
    assert credentials == credentials_from_environment()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes a setting of the tests' own, which `exec` would pass on to the program."""
    monkeypatch.delenv("ETRADE_SIGN_IN_BY")


@pytest.mark.usefixtures("quick_flows")
@pytest.mark.essential
def test_program_has_the_renewed_session(
    simulator: Simulator,
    block: str,
    credentials: ETradeCredentials,
    run: Run,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The token is renewed first; only the program prints, and it gets only the block's variables."""
    assert 0 == run("exec", "--credentials", block, "--", sys.executable, "-c", SHOW)
    out, err = capfd.readouterr()
    assert (environment_of(credentials), "") == (json.loads(out), err)
    assert 1 == len(simulator.calls("/oauth/renew_access_token"))
    assert set() == set(os.environ) & set(ENVIRONMENT_VARIABLES)


@pytest.mark.usefixtures("quick_flows", "simulator")
def test_exit_code_is_the_programs(block: str, run: Run) -> None:
    """`exec` passes on the program's exit code, leaves its options alone, and takes a name without option."""
    program = "import sys; sys.exit(7 if sys.argv[1:] == ['--credentials', 'x'] else 1)"
    assert 7 == run("exec", block, "--", sys.executable, "-c", program, "--credentials", "x")


@pytest.mark.usefixtures("quick_flows")
def test_nothing_runs_without_a_session(
    simulator: Simulator, block: str, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Past midnight the command exits with 4, says what to do, and does not run the program."""
    simulator.advance(timedelta(hours=12))
    assert 4 == run("exec", block, "--", "touch", str(tmp_path / "ran"))
    assert "Next: sign in " in capfd.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_program_that_cannot_run_is_reported_before_any_call(
    simulator: Simulator, block: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a program, or with one that does not exist, `exec` renews nothing and says what to do."""
    for command, code in (([], 2), (["no-such-program"], 1)):
        assert code == run("exec", block, "--", *command)
        assert "Next: " in capsys.readouterr().err
    assert [] == simulator.calls()


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["exec", "main", "--", "x", "--", "y"], ["exec", "--credentials", "main", "--", "x", "--", "y"]),
        (["exec", "--", "x", "main"], ["exec", "--", "x", "main"]),
        (["exec", "--help"], ["exec", "--help"]),
        (["renew", "main"], ["renew", "main"]),
    ],
)
def test_name_before_the_dashes_is_the_credentials(given: list[str], taken: list[str]) -> None:
    """Only a word between `exec` and the two dashes is taken as the name."""
    assert taken == with_name_as_option(given)


@pytest.mark.starts_programs
@pytest.mark.real_time
def test_signals_reach_the_program(
    block: str,
    tmp_path: Path,
    start_python: Callable[..., subprocess.Popen[str]],
    wait_until: Callable[..., None],
) -> None:
    """A signal to the command ends the program, and the command exits with the program's exit code."""
    program = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
    command = (sys.executable, "-c", program, str(tmp_path / "ready"))
    process = start_python("-m", "etrade_flows.cli.app", "exec", block, "--", *command)
    wait_until((tmp_path / "ready").exists, seconds=90)
    process.send_signal(signal.SIGTERM)
    assert 9 == process.wait(timeout=60)
