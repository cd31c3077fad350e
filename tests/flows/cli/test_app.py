"""The command `etrade-session`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter

from etrade_flows.cli import app as cli
from etrade_simulator import Simulator
from etrade_tasks import TokenSession
from etrade_tasks.errors import FACTS

Run = Callable[..., int]

RENEW = "/oauth/renew_access_token"


@pytest.mark.usefixtures("quick_flows")
class TestRenew:
    """`etrade-session renew`."""

    def test_active_session_exits_0_and_shows_its_clocks(
        self, simulator: Simulator, block: str, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """`renew` takes a name alone, exits with 0 and shows Eastern limits; with --force it calls again."""
        assert 0 == run("renew", block)
        shown = capsys.readouterr().out
        words = ("active", "2027-06-15 14:0", "2027-06-16 00:00 US Eastern")
        assert [] == [word for word in words if word not in shown]
        assert (0, 2) == (run("renew", block, "--force"), len(simulator.calls(RENEW)))

    @pytest.mark.essential
    def test_json_is_one_object_and_nothing_else(
        self, simulator: Simulator, block: str, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """With --json, all that is printed is one object from which the session can be read back."""
        assert 0 == run("renew", "--credentials", block, "--json")
        out, err = capsys.readouterr()
        said = json.loads(out)
        assert ("active", block, "") == (said.pop("state"), said.pop("credentials"), err)
        assert TokenSession.model_validate(said).reused is False

    @pytest.mark.essential
    def test_sign_in_required_exits_4_with_advice(
        self, simulator: Simulator, block: str, capsys: pytest.CaptureFixture[str], run: Run
    ) -> None:
        """Past midnight it exits with 4 and says what to do; with --json it prints one object of facts."""
        simulator.advance(timedelta(hours=12))
        assert 4 == run("renew", "--credentials", block)
        told = capsys.readouterr().err
        words = ("SignInRequired", "Next: sign in ", "Traceback")
        assert [True, True, False] == [word in told for word in words]
        assert 4 == run("renew", "--credentials", block, "--json")
        said = json.loads(capsys.readouterr().out)
        assert ("sign-in-required", "SignInRequired") == (said["state"], said["error"])
        assert {"state", "error", "message", "advice", *FACTS} == set(said)

    def test_session_may_be_needed_for_longer(self, simulator: Simulator, block: str, run: Run) -> None:
        """If midnight comes before the required time is over, the command exits with 4 before any call."""
        assert 4 == run("renew", "--credentials", block, "--required-for", "13h")
        assert [] == simulator.calls(RENEW)

    def test_unknown_credentials_exit_1(
        self, block: str, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An unknown name exits with 1, suggests a block with a similar name, and creates no run."""
        assert 1 == run("renew", f"{block}x")
        assert f"Did you mean '{block}'" in " ".join(capsys.readouterr().err.split())
        wanted = FlowRunFilter.model_validate({"name": {"any_": [f"renew {block}x"]}})
        with get_client(sync_client=True) as client:
            assert [] == client.read_flow_runs(flow_run_filter=wanted)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("renew --foo", ""),
        ("no-such-command", ""),
        ("simulator --port x", ""),
        ("simulator --port 65536", ""),
        ("simulator --port -1", ""),
        ("doctor --credentials MyAccount", "small letters"),
        ("login --credentials MyAccount", "small letters"),
        ("login --key-issued-on 2052-07-15", "in the future"),
    ],
)
def test_misuse_exits_2(arguments: str, said: str, capsys: pytest.CaptureFixture[str], run: Run) -> None:
    """A wrong command line exits with 2 and an explanation, before anything is done."""
    assert 2 == run(*arguments.split())
    shown = " ".join("".join(capsys.readouterr()).split())
    assert (True, True) == (shown != "", said in shown)


def test_help_names_commands_and_exit_codes(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    """Without arguments the command explains itself, including its exit codes."""
    assert 0 == run()
    shown = capsys.readouterr().out
    commands = [name for name in cli.app if not name.startswith("-")]
    assert [] == [word for word in (*commands, "4 sign-in required") if word not in shown]


@pytest.mark.parametrize("command", sorted(name for name in cli.app if not name.startswith("-")))
def test_help_keeps_its_stars(command: str, capsys: pytest.CaptureFixture[str], run: Run) -> None:
    """The help of every command shows the asterisks of E*TRADE and ETRADE_*, which markup could remove."""
    documented = cli.app[command].default_command.__doc__
    assert 0 == run(command, "--help")
    shown = capsys.readouterr().out.replace("│ * ", "")  # which marks a required option
    assert documented.count("*") == shown.count("*")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    """The script that `--install-completion` writes knows every command and the options of each."""
    script = cli.app.generate_completion(prog_name="etrade-session", shell=shell)
    commands = [name for name in cli.app if not name.startswith("-")]
    assert [] == [word for word in (*commands, "required-for", "install-completion") if word not in script]


def test_version_is_the_distributions(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    """The command prints the installed distribution's version."""
    assert 0 == run("--version")
    assert version("prefect-etrade") == capsys.readouterr().out.strip()


def test_interrupt_exits_as_shells_expect(block: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Ctrl+C ends a command with 130 and no traceback."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("etrade_flows.cli.renew.renew_access_token", interrupted)
    assert 130 == run("renew", block)


@pytest.mark.parametrize("command", ["demo", "simulator"])
def test_missing_simulator_says_what_to_install(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    """Without the simulator's extra, the error names the command that installs it."""
    for module in [name for name in sys.modules if name.startswith("etrade_simulator.server")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert 1 == run(command)
    assert "pip install 'prefect-etrade[simulator]'" in capsys.readouterr().err


def test_taken_port_says_so(simulator: Simulator, capsys: pytest.CaptureFixture[str], run: Run) -> None:
    """If a port is taken, the error names it."""
    port = simulator.url.rpartition(":")[2]
    assert 1 == run("simulator", "--port", port)
    assert f"Port {port} cannot be used" in capsys.readouterr().err


def test_interrupted_demo_leaves_nothing(
    tmp_path: Path, wait_until: Callable[..., None], processes_with: Callable[[str], list[Path]]
) -> None:
    """Ctrl+C while the demo starts its server ends every process silently, and leaves no file behind."""
    # A shell's background jobs ignore Ctrl+C, and so do the processes that they start.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heed}; from etrade_flows.cli.app import main; main(['demo'])"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while "A person signs in" not in process.stdout.readline():
            assert process.poll() is None
        wait_until(lambda: 3 <= len(processes_with(str(tmp_path))), seconds=60)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (130, "") == (process.returncode, errors)
    wait_until(lambda: [] == processes_with(str(tmp_path)), seconds=60)
    assert [] == list(tmp_path.iterdir())


def test_demo_lives_through_the_day_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], run: Run
) -> None:
    """The demo shows refusal, renewal, service, reuse and midnight, and leaves no file behind."""
    # It must not read the user's settings, nor write to the user's home.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "1")
    for name, value in {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.com"}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")  # not every terminal can show its text's characters
    assert 0 == run("demo")
    shown, errors = capfd.readouterr()
    assert "" == errors
    steps = (
        "200, served.*two hours pass.*401, the token is idle.*renewed; active.*200, served.*reused, no call.*"
        "midnight US Eastern passes.*SignInRequired.*Next: sign in at E\\*TRADE"
    )
    assert re.search(steps, shown, re.DOTALL)
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]
