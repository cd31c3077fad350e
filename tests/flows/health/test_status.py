"""The command `etrade-session status`, against a real Prefect server and a simulated E*TRADE."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import get_current_settings
from prefect.states import Late

from etrade_flows import active_session, renew_access_token
from etrade_flows.access.memory import forget_sessions
from etrade_flows.health.model import SessionStatus
from etrade_flows.person.login import stored_credentials
from etrade_flows.sign_out import end_session
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, SignInRequired
from etrade_tasks.credentials import environment_of
from etrade_tasks.sharing.record import record_key

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

RENEW = "/oauth/renew_access_token"
REFUSAL = Fault(status=401, body="oauth_problem=token_rejected")

Run = Callable[..., int]
Told = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(autouse=True)
def no_blocks(prefect_server: None) -> None:
    """Deletes the blocks of other tests, and makes this process forget every session."""
    forget_sessions()
    with get_client(sync_client=True) as client:
        for document in client.read_block_documents_by_type("etrade-credentials"):
            client.delete_block_document(document.id)


@pytest.fixture
def told(run: Run, capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs `status --json`; returns its exit code and the one session that it shows."""

    def ask(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = run("status", "--json", *arguments)
        (session,) = json.loads(capsys.readouterr().out)["sessions"]
        return code, session

    return ask


class TestStates:
    """Each state, end to end."""

    @pytest.mark.essential
    def test_renewed_by_the_flow(self, block: str, simulator: Simulator, told: Told) -> None:
        """After a run the session is active, after two hours idle, and after midnight expired."""
        session = renew_access_token(block)
        code, said = told()
        assert (0, "active", None) == (code, said["state"], said["next"])
        assert (session.idle_at, session.expires_at) == tuple(
            datetime.fromisoformat(said[limit]) for limit in ("idle_at", "expires_at")
        )
        assert [("renewed", "result storage")] == [(r["outcome"], r["store"]) for r in said["renewals"]]
        for hours, code, state, command in ((2, 1, "idle", "renew"), (10, 4, "expired", "login")):
            simulator.advance(timedelta(hours=hours))
            found, said = told()
            assert (code, state) == (found, said["state"])
            assert f"etrade-session {command} --credentials {block}" in said["next"]

    def test_renewed_outside_of_any_run(self, block: str, simulator: Simulator, told: Told) -> None:
        """A renewal without a run is known from its record; if that is damaged, E*TRADE is not asked."""
        session = active_session(block)
        code, said = told()
        assert (0, "active") == (code, said["state"])
        assert session.renewed_at == datetime.fromisoformat(said["renewals"][0]["at"])
        storage = Path(get_current_settings().results.local_storage_path)
        (storage / record_key(stored_credentials(block))).write_text('{"metadata": {}, "result": "gone"}')
        code, said = told()
        assert (1, "unknown", []) == (code, said["state"], said["renewals"])
        assert 1 == len(simulator.calls(RENEW))

    def test_refused_outside_of_any_run(self, block: str, simulator: Simulator, told: Told) -> None:
        """After a refusal outside of any run, the earlier renewal no longer counts."""
        simulator.plant(REFUSAL, path=RENEW)
        with pytest.raises(SignInRequired) as refused:
            active_session(block)
        code, said = told()
        assert (1, "unknown", refused.value.message) == (code, said["state"], said["message"])

    def test_unusable_block(self, save: Callable[..., str], told: Told) -> None:
        """If a block does not fit its fields, its session has failed, and the message names the field."""
        code, said = told("--credentials", save("bad", environment="moon"))
        assert (1, "failed", "CredentialsInvalid") == (code, said["state"], said["error"]["error"])
        assert "environment" in said["message"]


@pytest.mark.real_time
class TestHistory:
    """What the server knows about today's runs, which it dates by real time."""

    def test_refused(self, simulator: Simulator, block: str, told: Told) -> None:
        """If a run of today found the token dead, a person must sign in, whatever was renewed before."""
        renew_access_token(block)
        simulator.plant(REFUSAL, path=RENEW)
        with pytest.raises(SignInRequired):
            renew_access_token(block, force=True)
        code, said = told()
        assert (4, "sign-in-required") == (code, said["state"])
        assert [("sign-in required", "Prefect server"), ("renewed", "Prefect server")] == [
            (r["outcome"], r["store"]) for r in said["renewals"]
        ]

    def test_others_runs_are_not_listed(
        self,
        simulator: Simulator,
        block: str,
        credentials_for: Callable[..., ETradeCredentials],
        run: Run,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Each of two credentials has its own entry, in order of name, and the worse decides the exit."""
        other = f"a-{block[:50]}"
        credentials_for(simulator.sign_in("sandbox")).save(other)
        renew_access_token(block)
        assert 1 == run("status", "--json")
        sessions = json.loads(capsys.readouterr().out)["sessions"]
        assert [(other, "sandbox", "unknown", 0), (block, "live", "active", 1)] == [
            (s["credentials"], s["environment"], s["state"], len(s["renewals"])) for s in sessions
        ]


class TestCheck:
    """`--check`, which asks E*TRADE."""

    def test_answer_counts(
        self, block: str, simulator: Simulator, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The check renews, whatever was renewed before, and the time to idle ends only if it is refused."""
        active_session(block)
        code, said = told("--check")
        assert (0, "active", "E*TRADE") == (code, said["state"], said["renewals"][0]["store"])
        assert 2 == len(simulator.calls(RENEW))
        monkeypatch.setenv("ETRADE_DEADLINE", "0.2")
        simulator.plant(Fault(status=500), path=RENEW, times=10)
        code, said = told("--check")
        assert (1, "failed", "RenewalFailed") == (code, said["state"], said["error"]["error"])
        assert said["idle_in_seconds"] > 0
        simulator.clear_faults()
        simulator.plant(REFUSAL, path=RENEW)
        code, said = told("--check")
        assert (4, "sign-in-required", None) == (code, said["state"], said["idle_in_seconds"])
        assert "SignInRequired" == said["error"]["error"]

    @pytest.mark.essential
    def test_signed_out_is_not_asked_about(self, block: str, simulator: Simulator, told: Told) -> None:
        """After a sign-out a person must sign in, and the check does not ask E*TRADE."""
        renew_access_token(block)
        end_session(block, stored_credentials(block))
        code, said = told("--check")
        assert (4, "signed-out", None) == (code, said["state"], said["idle_at"])
        assert 1 == len(simulator.calls(RENEW))


class TestSchedule:
    """Runs that a real deployment has scheduled."""

    @pytest.fixture
    def hourly(self, block: str, noon: datetime) -> Iterator[str]:
        """A deployment that renews this block's session each hour from one o'clock on."""
        name = f"hourly-{block[-30:]}"
        with get_client(sync_client=True) as client:
            every_hour = IntervalSchedule(interval=timedelta(hours=1), anchor_date=noon)
            deployment = client.create_deployment(
                client.create_flow(renew_access_token),
                name=name,
                parameters={"credentials": block},
                schedules=[DeploymentScheduleCreate(schedule=every_hour)],
            )
            start = noon + timedelta(minutes=1)
            window = {"start_time": start.isoformat(), "end_time": (start + timedelta(hours=13)).isoformat()}
            asked = window | {"min_runs": 13}
            client._client.post(f"/deployments/{deployment}/schedule", json=asked).raise_for_status()
            yield name
            client.delete_deployment(deployment)

    def test_next_runs(
        self,
        *,
        block: str,
        hourly: str,
        simulator: Simulator,
        credentials: ETradeCredentials,
        told: Told,
    ) -> None:
        """The next runs of these credentials are shown: when, by which deployment, and what each will do."""
        simulator.advance(timedelta(minutes=30))
        active_session(block)
        runs = told()[1]["next_runs"]
        assert [
            ("2027-06-15T17:00:00Z", hourly, "reuses", "reuses the renewal of 12:30"),
            ("2027-06-15T18:00:00Z", hourly, "renews", "renews"),
            ("2027-06-15T19:00:00Z", hourly, "renews", "renews"),
        ] == [(r["at"], r["deployment"], r["action"], r["message"]) for r in runs]
        credentials.save(f"other-{block[:50]}")
        assert [] == told("--credentials", f"other-{block[:50]}")[1]["next_runs"]

    def test_late_run(self, block: str, hourly: str, noon: datetime, told: Told) -> None:
        """A run that nothing has picked up is shown as late, with what to start."""
        active_session(block)
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(f"renew-access-token/{hourly}")
            client.create_flow_run_from_deployment(
                deployment.id, state=Late(scheduled_time=noon - timedelta(minutes=20))
            )
        said = told()[1]
        assert [True, False, False] == [run["late"] for run in said["next_runs"]]
        assert f"start the process that serves the deployment {hourly!r}." == said["next"]


class TestNames:
    """Whose sessions are shown."""

    @pytest.fixture
    def variables(self, credentials: ETradeCredentials, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sets the same credentials as `ETRADE_*` variables."""
        for name, value in environment_of(credentials).items():
            monkeypatch.setenv(name, value)

    def test_server_that_knows_no_block_type(self, variables: None, told: Told, registered: Any) -> None:
        """On a server that knows no credentials block, the variables count, under the name that flows use."""
        with get_client(sync_client=True) as client:
            slug = ETradeCredentials.get_block_type_slug()
            client.delete_block_type(client.read_block_type_by_slug(slug).id)
        try:
            active_session("etrade")
            code, said = told()
        finally:
            registered.cache_clear()
            ETradeCredentials.register_type_and_schema(_sync=True)
        assert (0, "etrade", "environment") == (code, said["credentials"], said["source"])

    def test_blocks_come_first(self, variables: None, block: str, told: Told) -> None:
        """If there is a block, the variables are shown only for a name without a block."""
        assert (block, "block") == (told()[1]["credentials"], told()[1]["source"])
        assert "environment" == told("--credentials", "another")[1]["source"]

    def test_nothing_at_all(self, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
        """Without blocks and variables, the error names every place that was searched."""
        assert 1 == run("status")
        assert "CredentialsNotFound" in (shown := capsys.readouterr()).err
        assert ("", True) == (shown.out, "etrade-credentials/etrade" in shown.err)


def test_malformed_setting_is_named(
    block: str, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that cannot be used is named, without a traceback."""
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "PT9H")
    assert 1 == run("status")
    assert "ETRADE_REUSE_WINDOW: must be" in capsys.readouterr().err


def test_keys_of_the_json_are_stable(block: str, told: Told) -> None:
    """The keys of the JSON stay the same, and each has a description."""
    active_session(block)
    said = told()[1]
    names = (
        "credentials environment source as_of state message signed_in_at idle_at idle_in_seconds expires_at "
        "expires_in_seconds renewals next_runs key_warning error next"
    )
    assert names.split() == list(said)
    assert {"at", "outcome", "message", "store"} == set(said["renewals"][0])
    schema = SessionStatus.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    keys = [key for model in models for key in model.get("properties", {}).values()]
    assert [] == [key for key in keys if not key.get("description")]


@pytest.mark.real_time
def test_pipe_gets_whole_plain_lines(
    block: str, simulator: Simulator, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    """A pipe gets one plain line for each thing: no colour, no box, no log, nothing wrapped or padded."""
    logs = {"PREFECT_LOGGING_LEVEL": "INFO", "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "warn"}
    command = ("-m", "etrade_flows.cli.app", "status", "--check", "--credentials", block)
    process = start_python(*command, COLUMNS="60", **logs)
    shown, errors = process.communicate(timeout=60)
    assert (0, "") == (process.returncode, errors)
    lines = shown.splitlines()
    assert "session state idle expires renewals schedule" == " ".join(line.split()[0] for line in lines)
    assert re.search(r"^state +active: good until midnight US Eastern$", shown, re.MULTILINE)
    assert re.search(r"renewed  E\*TRADE +Renewed in 1 call; .*US Eastern\.$", lines[4])
    assert "" == "".join(re.findall(r"[^ -~\n]| $", shown, re.MULTILINE))


def test_terminal_gets_colour_and_folds(
    block: str, simulator: Simulator, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A terminal shows the state in green, and no line is wider than the terminal."""
    active_session(block)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    assert 0 == run("status", block)
    seen = capsys.readouterr().out
    assert "\x1b[1;32mactive\x1b[0m" in seen
    assert 60 >= max(len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", seen).splitlines())
