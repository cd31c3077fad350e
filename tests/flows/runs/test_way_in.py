"""Where a person signs in: the run that waits, and which messages link to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateDetails, StateType
from prefect.states import Paused, Pending, Running, Scheduled

from etrade_flows import renew_access_token
from etrade_flows.access.renewal import active_session
from etrade_flows.runs import way_in
from etrade_flows.runs.way_in import WayIn, find_way_in, led_to_sign_in, may_live
from etrade_flows.sign_in import sign_in
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials, SessionTooShort, SignInRequired

pytestmark = pytest.mark.usefixtures("quick_flows")

Wait = Callable[..., UUID]


@pytest.fixture
def wait() -> Iterator[Wait]:
    """Makes a run of `sign-in` in this state and returns its id; deletes it after the test."""
    made: list[UUID] = []

    def make(credentials: str, state: State[Any]) -> UUID:
        with get_client(sync_client=True) as client:
            first = state if state.is_scheduled() else Pending()  # tells the server when the run is due
            run = client.create_flow_run(sign_in, parameters={"credentials": credentials}, state=first)
            client.set_flow_run_state(run.id, state, force=True)
        made.append(run.id)
        return run.id

    yield make
    with get_client(sync_client=True) as client:
        for run_id in made:
            client.delete_flow_run(run_id)


def found(credentials: str) -> WayIn | None:
    """The way to sign in that the server knows."""
    with get_client(sync_client=True) as client:
        return find_way_in(client, credentials)


def leads_to(run_id: UUID, address: str | None) -> bool:
    """Whether the text links to the page of this run."""
    return f"/runs/flow-run/{run_id} " in (address or "")


@pytest.mark.parametrize(
    ("kind", "age", "pause_left", "lives"),
    [
        pytest.param(StateType.PAUSED, 0, 5, True, id="open form"),
        pytest.param(StateType.PAUSED, 0, -5, False, id="form is over"),
        pytest.param(StateType.SCHEDULED, 0, None, True, id="about to begin"),
        pytest.param(StateType.RUNNING, 59, None, True, id="at work"),
        pytest.param(StateType.RUNNING, 61, None, False, id="silent for an hour"),
        pytest.param(StateType.COMPLETED, 0, None, False, id="ended"),
    ],
)
def test_run_that_a_person_can_answer_lives(
    kind: StateType, age: int, pause_left: int | None, lives: bool
) -> None:
    """A sign-in that is open, at work or about to begin lives; one that has died or ended does not."""
    at = datetime.now(UTC)
    timeout = None if pause_left is None else at + timedelta(minutes=pause_left)
    details = StateDetails(pause_timeout=timeout)
    assert lives == may_live(State(type=kind, timestamp=at - timedelta(minutes=age), state_details=details))


def test_what_is_planned_hides_no_run_that_waits(
    wait: Wait, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that waits is found, however many sign-ins are planned for later."""
    monkeypatch.setattr("etrade_flows.runs.way_in._LOOKED_AT", 1)
    waiting = wait(block, Paused(timeout_seconds=300))
    wait(block, Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=3)))
    assert found(block).address.endswith(str(waiting))


def test_run_that_waits_for_this_person_is_found(wait: Wait, block: str) -> None:
    """A person is sent to their own account's run that lives, to an open form before one yet to begin."""
    wait(f"{block}-2", Paused(timeout_seconds=300))
    wait(block, Paused(timeout_seconds=-300))
    way = found(block)
    assert way is None or not way.waits  # at most a form, of another test's deployment
    beginning = wait(block, Scheduled(scheduled_time=datetime.now(UTC)))
    assert found(block).address.endswith(str(beginning))
    waiting = wait(block, Paused(timeout_seconds=300))
    wait(block, Running())
    assert found(block).address.endswith(str(waiting))


def test_form_of_the_accounts_own_deployment_is_taken(prefect_server: None, block: str) -> None:
    """Of several deployments, the one for these credentials is found, and its form needs no name."""
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(sign_in)
        made = {
            name: client.create_deployment(flow_id, name=name, parameters={"credentials": name})
            for name in (f"{block}-a", f"{block}-b")
        }
        try:
            way = found(f"{block}-b")
            assert f"/deployments/deployment/{made[f'{block}-b']}/run" in way.address
            assert (False, "") == (way.waits, way.address.partition("?")[2])
        finally:
            for deployment in made.values():
                client.delete_deployment(deployment)


def test_failed_renewal_leads_to_the_run_that_waits(
    wait: Wait, signed_out: str, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """If nobody is signed in, the run's message, the report and `status` begin their advice with the link."""
    waiting = wait(signed_out, Paused(timeout_seconds=300))
    state = renew_access_token(signed_out, return_state=True)
    _, advice = state.message.splitlines()
    assert advice.startswith("Next: sign in now: http")
    assert leads_to(waiting, advice)
    assert "sign-in`" not in advice
    report = Artifact.get(f"etrade-session-{signed_out}").data
    assert "**Next:** sign in now: <http" in report
    assert f"/runs/flow-run/{waiting}>" in report
    run("status", signed_out)
    [advice] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Next:")]
    assert leads_to(waiting, advice)


def test_pipeline_is_led_to_the_run_that_waits(wait: Wait, signed_out: str) -> None:
    """A pipeline that calls `active_session` gets an error with the same link and all of its facts."""
    waiting = wait(signed_out, Paused(timeout_seconds=300))

    @flow
    def pipeline() -> None:
        active_session(signed_out)

    with pytest.raises(SignInRequired) as raised:
        pipeline()
    assert leads_to(waiting, raised.value.advice)
    assert signed_out == raised.value.credentials


def test_what_no_run_can_sign_in_to_keeps_its_advice(
    wait: Wait, simulator: Simulator, credentials_for: Callable[..., ETradeCredentials], block: str
) -> None:
    """Credentials from the environment and a session that is too short get no link to a sign-in."""
    wait(block, Paused(timeout_seconds=300))
    environment = credentials_for(simulator.sign_in("live"))
    short, due = SessionTooShort("It is."), SignInRequired("It is over.")
    assert due is led_to_sign_in(due, block, environment)
    assert short is led_to_sign_in(short, block, ETradeCredentials.load(block))


def test_server_that_fails_leaves_the_advice(
    signed_out: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the link cannot be looked up, the advice names another way to sign in, and the log says why."""

    def refuse(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(way_in, "_waiting_run", refuse)
    state = renew_access_token(signed_out, return_state=True)
    assert "etrade-session login" in state.message
    assert "The link to sign in could not be looked up (ConnectionError)." in caplog.text
