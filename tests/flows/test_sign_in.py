"""The flow `sign-in`, answered through the API as the Prefect UI does it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow, flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.flow_runs import pause_flow_run
from prefect.states import Cancelling, Failed, Paused, Running, State

from etrade_flows.person import form
from etrade_flows.person.form import clear_leftovers
from etrade_flows.person.login import store, stored_credentials
from etrade_flows.person.waiting_runs import pause_key
from etrade_flows.runs import way_in
from etrade_flows.runs.tags import current_run
from etrade_flows.sign_in import artifact_key, sign_in
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, TokenSession
from etrade_tasks.errors import AuthorizationFailed
from etrade_tasks.oauth.call import ATTEMPTS

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

REQUEST, RENEW = "/request_token", "/oauth/renew_access_token"


@pytest.fixture(autouse=True)
def quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a waiting run look for its answer often, and give up after 30 seconds."""
    monkeypatch.setattr(form, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(form, "PATIENCE", 30)


@pytest.fixture
def first_rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a run's first pauses time out after a moment; calls `meanwhile` after each."""

    def shorten(rounds: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        begun: list[int] = []

        def pause(form: Any, *, timeout: float, poll_interval: float) -> Any:
            begun.append(1)
            if len(begun) > rounds:
                return pause_flow_run(form, timeout=timeout, poll_interval=poll_interval)
            try:
                return pause_flow_run(form, timeout=0.2, poll_interval=poll_interval)
            finally:
                meanwhile()

        monkeypatch.setattr(form, "pause_flow_run", pause)

    return shorten


@flow
def pipeline() -> None:
    """Any other flow."""


def token_of(block: str) -> str | None:
    return stored_credentials(block).signing_keys.token


def inputs_of(run: State[Any] | UUID) -> list[str]:
    """The keys of everything that the server keeps of a run's form and its answer."""
    run_id = run if isinstance(run, UUID) else run.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        found = client.filter_flow_run_input(run_id, "", 50, set())
    return [each.key for each in found]


def state_of(run_id: UUID) -> State[Any]:
    """The state of a run on the server."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id).state


class TestAnswered:
    """A person answers."""

    @pytest.mark.essential
    def test_run_ends_signed_in(self, simulator: Simulator, block: str, person: Any) -> None:
        """The run completes, the block holds a token that works, and nothing of the form is kept."""
        before = token_of(block)
        person.answers()
        state = sign_in(block, return_state=True)
        assert "Completed" == state.name
        assert before != token_of(block)
        with stored_credentials(block).get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code
        assert [] == inputs_of(state)
        assert "No run is waiting" in Artifact.get(artifact_key(block)).data
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(state.state_details.flow_run_id)
        assert (f"sign in {block}: signed in", {"etrade", "live", block}) == (run.name, set(run.tags))

    def test_pasted_address_is_taken(self, simulator: Simulator, block: str, person: Any) -> None:
        """The form accepts a callback address in small letters at once, and the caller gets the session."""
        person.answers(lambda verifier: f"https://fake.example/?oauth_verifier={verifier.lower()}")
        assert isinstance(sign_in(block), TokenSession)
        assert 1 == len(person.entered)

    def test_form_says_until_when(self, simulator: Simulator, block: str, person: Any) -> None:
        """The form says until when its link is good, and late in the evening how soon the session ends."""
        simulator.advance(timedelta(hours=10, minutes=30))
        person.answers()
        sign_in(block)
        assert "before 22:35 US Eastern" in person.forms[0]
        assert re.search(r"Midnight US Eastern ends this session in (90|89) min", person.forms[0])

    @pytest.mark.parametrize("rerun", [False, True])
    def test_runs_that_waited_go_on_if_asked(
        self, simulator: Simulator, block: str, person: Any, *, rerun: bool
    ) -> None:
        """A run that paused until a sign-in is resumed if `sign-in` is asked to do that, and only then."""
        with get_client(sync_client=True) as client:
            waiting = client.create_flow_run(pipeline)
            paused = Paused(timeout_seconds=600, pause_key=pause_key(block))
            client.set_flow_run_state(waiting.id, paused, force=True)
            person.answers()
            sign_in(block, rerun=rerun)
            assert ("Running" if rerun else "Paused") == client.read_flow_run(waiting.id).state.name


class TestElsewhere:
    """Somebody signs in another way while the run waits."""

    def test_run_ends_signed_in(
        self,
        simulator: Simulator,
        signed_out: str,
        first_rounds: Callable[..., None],
        credentials_for: Callable[..., ETradeCredentials],
    ) -> None:
        """The run completes and says so, the other token stays, and the form is deleted."""
        newer = credentials_for(simulator.sign_in("live"))
        first_rounds(1, meanwhile=lambda: store(signed_out, newer))
        state = sign_in(signed_out, return_state=True)
        assert "Completed" == state.name
        assert state.message.startswith("Somebody has signed in elsewhere.")
        assert (newer, []) == (stored_credentials(signed_out), inputs_of(state))
        assert [f"/oauth{REQUEST}", RENEW] == [call.path for call in simulator.calls()]

    def test_token_that_is_no_good_is_no_sign_in(
        self,
        simulator: Simulator,
        block: str,
        first_rounds: Callable[..., None],
        credentials_for: Callable[..., ETradeCredentials],
    ) -> None:
        """If E*TRADE refuses a token that was stored while the run waited, nobody is signed in."""
        dead = credentials_for(simulator.sign_in("live"), access_token="fake-token")
        first_rounds(1, meanwhile=lambda: store(block, dead))
        assert "Failed" == sign_in(block, return_state=True).name


class TestKeptOpen:
    """A run that waits for longer than a link is good."""

    def test_each_round_has_a_link_of_its_own(
        self,
        *,
        simulator: Simulator,
        signed_out: str,
        person: Any,
        first_rounds: Callable[..., None],
        wait_until: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A person who comes after some links have expired finds a good one, and the log asked only once."""
        first_rounds(2)
        person.before_answering = lambda: wait_until(
            lambda: len(simulator.calls(REQUEST)) == 3 and person.waits() is not None, seconds=60
        )
        person.answers()
        assert "Completed" == sign_in(signed_out, keep_open_for=timedelta(hours=12), return_state=True).name
        assert 1 == caplog.text.count("before 00:00 US Eastern: press Resume")
        assert "Pausing flow" not in caplog.text

    def test_nobody_comes_in_all_the_time(
        self, simulator: Simulator, signed_out: str, first_rounds: Callable[..., None]
    ) -> None:
        """If nobody comes in time, the run fails, and its forms are deleted."""
        first_rounds(9, meanwhile=lambda: simulator.advance(timedelta(hours=5)))
        state = sign_in(signed_out, keep_open_for=timedelta(hours=9), return_state=True)
        assert ("Failed", []) == (state.name, inputs_of(state))
        assert 2 == len(simulator.calls(REQUEST))
        assert "Failed" == state_of(state.state_details.flow_run_id).name

    def test_good_session_asks_nobody(self, simulator: Simulator, block: str) -> None:
        """If somebody has signed in before a late run begins, it completes without a link."""
        state = sign_in(block, keep_open_for=timedelta(hours=12), return_state=True)
        assert ("Completed", [RENEW]) == (state.name, [call.path for call in simulator.calls()])

    def test_outage_is_outlasted(
        self, simulator: Simulator, signed_out: str, person: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If E*TRADE is down, the run shows the server that it lives, and asks for a link again later."""
        module, shown = sys.modules["etrade_flows.sign_in"], []
        keep_running = form.keep_running

        def watched(*states: StateType) -> None:
            keep_running(*states)
            shown.append(state_of(current_run().id).timestamp)

        monkeypatch.setattr(module, "OUTAGE_PAUSE", 0.05)
        monkeypatch.setattr(module, "keep_running", watched)
        simulator.plant(Fault(status=503), path=REQUEST, times=2 * ATTEMPTS)
        person.answers()
        assert "Completed" == sign_in(signed_out, keep_open_for=timedelta(hours=12), return_state=True).name
        assert 2 * ATTEMPTS + 1 == len(simulator.calls(REQUEST))
        assert 2 == len(set(shown))

    def test_outage_fails_a_run_by_hand(self, simulator: Simulator, signed_out: str) -> None:
        """A person who waits for the link gets an error at once."""
        simulator.plant(Fault(status=503), path=REQUEST, times=ATTEMPTS)
        with pytest.raises(AuthorizationFailed):
            sign_in(signed_out)

    def test_late_resume_is_made_up_for(
        self, *, simulator: Simulator, signed_out: str, person: Any, first_rounds: Callable[..., None]
    ) -> None:
        """If Resume is pressed between two links, Prefect fails the run, but the run continues to wait."""

        def resume_late() -> None:
            run_id, _ = person.waits()
            with get_client(sync_client=True) as client:
                client.resume_flow_run(run_id, run_input={"verifier": "fake-late"})
            assert state_of(run_id).is_failed()
            person.answers()

        first_rounds(1, meanwhile=resume_late)
        assert "Completed" == sign_in(signed_out, keep_open_for=timedelta(hours=12), return_state=True).name

    def test_cancelled_run_ends(
        self, simulator: Simulator, signed_out: str, first_rounds: Callable[..., None]
    ) -> None:
        """A run that somebody cancels while it waits ends."""

        def cancel() -> None:
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(current_run().id, Cancelling(), force=True)

        first_rounds(1, meanwhile=cancel)
        state = sign_in(signed_out, keep_open_for=timedelta(hours=12), return_state=True)
        assert (2, False) == (len(simulator.calls(REQUEST)), state.is_completed())


def test_what_the_server_loses_fails_no_sign_in(
    *,
    simulator: Simulator,
    block: str,
    person: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the artifact is gone or a connection is lost, the person is still signed in, and the log says it."""

    def fail(credentials: str) -> None:
        raise ConnectionError

    def delete_artifact() -> None:
        with get_client(sync_client=True) as client:
            client.delete_artifact(Artifact.get(artifact_key(block)).id)

    for call in ("clear_leftovers", "let_go_on"):
        monkeypatch.setattr(sys.modules[sign_in.fn.__module__], call, fail)
    person.before_resuming = delete_artifact
    person.answers()
    assert "Completed" == sign_in(block, rerun=True, return_state=True).name
    assert f"The artifact '{artifact_key(block)}' could not be updated" in caplog.text
    assert "The leftovers of earlier sign-ins could not be deleted (ConnectionError)." in caplog.text
    assert "The waiting runs could not be looked up (ConnectionError)." in caplog.text


WAITING = "import sys; from etrade_flows.sign_in import sign_in; sign_in(sys.argv[1])"


class TestLeftBehind:
    """The process of a waiting run has died."""

    def test_killed_process_leaves_nothing_for_good(
        self,
        *,
        simulator: Simulator,
        block: str,
        credentials: ETradeCredentials,
        person: Any,
        start_python: Any,
        wait_until: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A killed process leaves the old token, and the next sign-in deletes its form and even an answer."""
        simulator.timestamp_tolerance = timedelta(days=10_000)  # that process uses the machine's clock
        process = start_python("-c", WAITING, block)
        wait_until(lambda: person.waits() is not None, seconds=60)
        run_id, _ = person.waits()
        process.kill()
        process.wait()
        assert credentials == stored_credentials(block)
        with stored_credentials(block).get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code
        with get_client(sync_client=True) as client:
            client.resume_flow_run(run_id, run_input={"verifier": "fake-verifier"})
        assert "paused-1-response" in inputs_of(run_id)
        monkeypatch.setattr(way_in, "SILENCE", timedelta(0))
        clear_leftovers(block)
        assert (True, []) == (state_of(run_id).is_crashed(), inputs_of(run_id))

    @pytest.mark.parametrize(
        ("run_of", "left", "after"),
        [
            pytest.param(sign_in, partial(Paused, timeout_seconds=600), None, id="may still be answered"),
            pytest.param(sign_in, partial(Paused, timeout_seconds=-600), "CRASHED", id="never answered"),
            pytest.param(sign_in, Running, None, id="just answered"),
            pytest.param(sign_in, Failed, "FAILED", id="answered too late"),
            pytest.param(pipeline, partial(Paused, timeout_seconds=-600), None, id="another flow"),
        ],
    )
    def test_form_that_nobody_reads_any_more_is_deleted(
        self, *, block: str, run_of: Flow[..., Any], left: Callable[[], State[Any]], after: str | None
    ) -> None:
        """The form of a sign-in that has died is deleted; one that may live and other flows keep theirs."""
        with get_client(sync_client=True) as client:
            run_id = client.create_flow_run(run_of, name=f"sign in {block}").id
            client.set_flow_run_state(run_id, left(), force=True)
            client.create_flow_run_input(flow_run_id=run_id, key="paused-1-schema", value="{}")
        clear_leftovers(block)
        expected = (left().type, ["paused-1-schema"]) if after is None else (after, [])
        assert expected == (state_of(run_id).type, inputs_of(run_id))


class TestRefused:
    """The sign-in fails."""

    def test_wrong_verifier_is_asked_for_again(self, simulator: Simulator, block: str, person: Any) -> None:
        """After a wrong verifier the next form says so, with a new link, and the right verifier signs in."""
        person.answers(lambda verifier: "wrong")
        person.answers()
        assert "Completed" == sign_in(block, return_state=True).name
        assert 2 == len(set(person.seen))
        assert [False, True] == ["The verifier is not the one" in form for form in person.forms]

    def test_nobody_answers(self, simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """If nobody answers, the run says so, the token stays, and form and call for a person are gone."""
        monkeypatch.setattr(form, "PATIENCE", 0.2)
        before = token_of(block)
        state = sign_in(block, return_state=True)
        shown = state_of(state.state_details.flow_run_id)
        assert ("Failed", "Nobody entered a verifier in time.\nNext: run it again.") == (
            shown.name,
            shown.message,
        )
        assert ([], before) == (inputs_of(state), token_of(block))
        assert "No run is waiting" in Artifact.get(artifact_key(block)).data
