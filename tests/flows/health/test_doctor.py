"""The command `etrade-session doctor`: its three forms, its exit code, and what it never shows."""

from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLOUD_API_URL,
    PREFECT_LOCAL_STORAGE_PATH,
    get_current_settings,
    temporary_settings,
)

from etrade_flows.health import events, examination
from etrade_flows.health.etrade import DATA_PATH
from etrade_flows.health.examination import examine
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, Health, SkipCheck, ok, problem, warning
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials

REQUEST = "/oauth/request_token"
ACCOUNT = "fake0000-acc0-4000-8000-00000000cafe"

Checks = dict[str, object]
Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def doctor(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs `doctor` with these options; returns its exit code and what it shows."""
    return lambda *options: (run("doctor", *options), "".join(capsys.readouterr()))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """One check of each verdict, which replace the real ones."""

    def skip(_: Facts) -> Finding:
        raise SkipCheck("Nobody knows.", first="bad")

    found = {
        "good": lambda _: ok("All is [bold]well[/]."),
        "odd": lambda _: warning("Something is odd.", "look at it."),
        "bad": lambda _: problem("Something is bad.", "mend it."),
        "open": skip,
    }
    monkeypatch.setattr(examination, "CHECKS", found)
    return found


def test_plain_text_is_one_line_and_one_remedy(checks: Checks, doctor: Doctor) -> None:
    """In a pipe, each finding is one line, with its remedy below unless it is ok, and totals come last."""
    code, shown = doctor()
    assert 1 == code
    assert [
        "ok       good            All is [bold]well[/].",
        "warning  odd             Something is odd.",
        "                         Next: look at it.",
        "problem  bad             Something is bad.",
        "                         Next: mend it.",
        "skipped  open            Nobody knows.",
        "                         Next: fix `bad` first.",
        "1 ok, 1 warning, 1 problem, 1 skipped.",
    ] == shown.splitlines()


def test_terminal_gets_colour(checks: Checks, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal the verdicts have colours, and markup in a finding is shown as text."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    _, shown = doctor()
    assert "\x1b[1;31mproblem\x1b[0m" in shown
    assert "\x1b[1mNext: \x1b[0mmend it." in shown
    assert "All is [bold]well[/]." in shown


def test_json_is_one_object(checks: Checks, doctor: Doctor) -> None:
    """With --json, the output is one object with the same keys for every finding."""
    _, shown = doctor("--credentials", "main", "--json")
    assert {
        "credentials": "main",
        "healthy": False,
        "findings": [
            {"check": "good", "verdict": "ok", "says": "All is [bold]well[/].", "remedy": ""},
            {"check": "odd", "verdict": "warning", "says": "Something is odd.", "remedy": "look at it."},
            {"check": "bad", "verdict": "problem", "says": "Something is bad.", "remedy": "mend it."},
            {"check": "open", "verdict": "skipped", "says": "Nobody knows.", "remedy": "fix `bad` first."},
        ],
    } == json.loads(shown)


def test_checks_that_are_skipped_for_one_reason_are_one_line(checks: Checks, doctor: Doctor) -> None:
    """Checks that wait for the same fix share one finding at the end, and the totals count each."""
    checks |= {"worse": checks["bad"], "closed": checks["open"]}
    assert [
        "problem  worse           Something is bad.",
        "                         Next: mend it.",
        "skipped  2 checks        Not checked: open, closed.",
        "                         Next: fix `bad` first.",
        "1 ok, 1 warning, 2 problems, 2 skipped.",
    ] == doctor()[1].splitlines()[-5:]


def test_warnings_alone_exit_0(checks: Checks, doctor: Doctor) -> None:
    """Without a problem the command exits with 0, even with warnings and skipped checks."""
    del checks["bad"]
    code, shown = doctor("--json")
    assert (0, True) == (code, json.loads(shown)["healthy"])


def test_failure_of_a_check_stops_no_other(checks: Checks, doctor: Doctor) -> None:
    """If one check fails, its finding shows the error's class and not its text, and the others still run."""

    def fail(_: Facts) -> Finding:
        raise RuntimeError("fake-canary")

    checks["odd"] = fail
    _, shown = doctor("--json")
    found = json.loads(shown)["findings"]
    assert ["ok", "problem", "problem", "skipped"] == [finding["verdict"] for finding in found]
    assert (True, False) == ("RuntimeError" in found[1]["says"], "fake-canary" in shown)


def test_checks_that_need_the_server_are_skipped_without_it(prefect_server: None) -> None:
    """If no server answers, one finding says so, and the checks that need the server are skipped."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        found = {finding.check: finding for finding in examine("nobody")}
    assert (Health.PROBLEM, True) == (found["server"].verdict, "ConnectError" in found["server"].says)
    skipped = {check for check, finding in found.items() if finding.verdict is Health.SKIPPED}
    assert {"versions", "httpx2", "settings", "server", "locks"} == found.keys() - skipped
    assert {"fix `server` first."} == {found[check].remedy for check in skipped}


@pytest.fixture
def quick_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the doctor wait for its event for a moment only; whether it arrives makes no difference here."""
    monkeypatch.setattr(events, "SECONDS", 0.3)


@pytest.mark.essential
def test_session_is_left_alone(simulator: Simulator, block: str, quick_event: None) -> None:
    """A whole examination asks for a request token and for data; it neither renews nor revokes the token."""
    examine(block)
    assert [REQUEST, DATA_PATH] == [call.path for call in simulator.calls()]


@pytest.fixture
def canaries(credentials: ETradeCredentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that must not be shown: secrets, passwords, an account, this machine's folders and user."""
    keys = credentials.signing_keys
    secrets = [keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret]
    monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", "redis://fake-user:fake-redis-password@127.0.0.1:9/0")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "fake-user:fake-server-password")
    places = [str(Path.home()), str(get_current_settings().home), str(tmp_path), str(tmp_path.parent)]
    user = [] if len(getpass.getuser()) < 6 else [getpass.getuser()]  # "root" is an ordinary word too
    return [
        *(spelling for secret in secrets for spelling in (secret, quote(secret, safe=""))),
        credentials.fingerprint,
        "fake-user",
        "fake-redis-password",
        "fake-server-password",
        ACCOUNT,
        "127.0.0.1",
        *places,
        *user,
    ]


@pytest.mark.usefixtures("quick_event")
@pytest.mark.parametrize("at", ["well", "refused", "echoed", "dropped", "cloud", "malformed", "unwritable"])
def test_report_is_safe_to_show(
    simulator: Simulator,
    block: str,
    *,
    canaries: list[str],
    at: str,
    doctor: Doctor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No form of the report shows a secret, a host, an account or a folder, whatever the checks find."""
    echo = " ".join(canaries)
    faults = {
        "refused": Fault(status=401, body=f"oauth_problem=consumer_key_rejected&echo={echo}"),
        "echoed": Fault(status=200, body=f"<html>{echo}</html>", headers={"X-Echo": echo}),
        "dropped": Fault(drop="mid-body"),
    }
    if at in faults:
        simulator.plant(faults[at], path=REQUEST)
    if at == "malformed":
        monkeypatch.setenv("ETRADE_DEADLINE", "fake-redis-password")
        monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", "fake-user:fake-redis-password")
    cloud = f"http://127.0.0.1:9/accounts/{ACCOUNT}/workspaces/{ACCOUNT}"
    if at == "unwritable":
        (tmp_path / "file").touch()
        monkeypatch.delenv("ETRADE_LOCK_REDIS_URL")
        monkeypatch.setenv("ETRADE_LOCK_DIRECTORY", str(tmp_path / "file" / "locks"))
    elsewhere = {PREFECT_CLOUD_API_URL: "http://127.0.0.1:9", PREFECT_API_URL: cloud}
    unwritable = {PREFECT_LOCAL_STORAGE_PATH: tmp_path / "file" / "results"}
    with temporary_settings({"cloud": elsewhere, "unwritable": unwritable}.get(at, {})):
        found = examine(block)
    monkeypatch.setattr("etrade_flows.cli.doctor.examine", lambda _: found)
    shown = doctor()[1] + doctor("--json")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "10000")
    shown += doctor()[1]
    assert 3 <= shown.count("locks")
    assert [] == [canary for canary in canaries if canary in shown]


def test_command_runs_in_a_process_of_its_own(
    simulator: Simulator, block: str, tmp_path: Path, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    """The installed command checks a real server, prints only the object, and exits by its findings."""
    places = {"PREFECT_LOCAL_STORAGE_PATH": str(tmp_path / "results")}
    places["ETRADE_LOCK_DIRECTORY"] = str(tmp_path / "locks")
    command = ("-m", "etrade_flows.cli.app", "doctor", "--credentials", block, "--json")
    process = start_python(*command, **places)
    shown, errors = process.communicate(timeout=120)
    assert (1, "") == (process.returncode, errors)
    found = {finding["check"]: finding["verdict"] for finding in json.loads(shown)["findings"]}
    assert "problem" == found["deployment"]
    # The simulator's clock is in another year than this process's.
    assert ("ok", "problem") == (found["etrade"], found["clock"])
    fine = ("versions", "server", "server-version", "block-type", "credentials", "result-storage", "locks")
    assert {"ok"} == {found[check] for check in fine}
