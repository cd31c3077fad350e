"""The flow `sign-in`, answered through the API as the Prefect UI does it."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.flow_runs import pause_flow_run
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Cancelling, Paused, State

from etrade_flows import renew_access_token
from etrade_flows.person import form
from etrade_flows.person.form import clear_leftovers
from etrade_flows.person.login import ROUNDS, store, stored_credentials, without_token
from etrade_flows.person.waiting_runs import pause_key
from etrade_flows.runs import way_in
from etrade_flows.runs.tags import current_run
from etrade_flows.sign_in import artifact_key, sign_in
from etrade_flows.sign_out import sign_out
from etrade_simulator import Fault, Simulator
from etrade_tasks import (
    ConfigurationRefused,
    CredentialsNotFound,
    ETradeCredentials,
    RenewalFailed,
    TokenSession,
)
from etrade_tasks.errors import AuthorizationFailed, VerifierRefused
from etrade_tasks.oauth.call import ATTEMPTS

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

REQUEST, RENEW = "/request_token", "/oauth/renew_access_token"


@pytest.fixture(autouse=True)
def quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a waiting run look for its answer often, and give up after 30 seconds."""
    monkeypatch.setattr(form, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(form, "PATIENCE", 30)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a run wait for its person for a moment only."""
    monkeypatch.setattr(form, "PATIENCE", 0.2)


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


@flow(flow_run_name="last word of {block}")
def last_word(block: str) -> None:
    """Leaves a log line and an event; once they are there, everything before them has been written."""
    get_run_logger().info("fake-last-word of %s", block)


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
        """The run completes, and the block holds a token that E*TRADE accepts."""
        before = token_of(block)
        person.answers()
        state = sign_in(block, return_state=True)
        assert "Completed" == state.name
        assert before != token_of(block)
        with stored_credentials(block).get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code

    def test_pasted_address_is_taken(self, simulator: Simulator, block: str, person: Any) -> None:
        """The form accepts a callback address and a verifier in small letters at once."""
        person.answers(lambda verifier: f"https://fake.example/?oauth_verifier={verifier.lower()}")
        assert "Completed" == sign_in(block, return_state=True).name
        assert 1 == len(person.entered)

    def test_caller_gets_the_session(self, simulator: Simulator, block: str, person: Any) -> None:
        """Called as a function, the flow returns the session, and the next renewal reuses its proof."""
        person.answers()
        assert isinstance(sign_in(block), TokenSession)
        assert True is renew_access_token(block).reused
        assert 1 == len(simulator.calls(RENEW))

    def test_sign_out_and_in_again(self, simulator: Simulator, block: str, person: Any) -> None:
        """A person who was signed out signs in to the same block again with a verifier alone."""
        sign_out(block)
        person.answers()
        assert "Completed" == sign_in(block, return_state=True).name

    def test_form_says_until_when(self, simulator: Simulator, block: str, person: Any) -> None:
        """The form that Resume opens says until when its link is good."""
        person.answers()
        sign_in(block)
        assert "before 12:05 US Eastern" in person.forms[0]

    def test_form_warns_of_a_midnight_that_is_near(
        self, simulator: Simulator, block: str, person: Any
    ) -> None:
        """Late in the evening the form says how soon the new session ends."""
        simulator.advance(timedelta(hours=10, minutes=30))
        person.answers()
        sign_in(block)
        assert re.search(r"Midnight US Eastern ends this session in (90|89) min", person.forms[0])

    def test_run_is_named_and_tagged(self, simulator: Simulator, block: str, person: Any) -> None:
        """The run's name and tags say whom it signs in."""
        person.answers()
        state = sign_in(block, return_state=True)
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(state.state_details.flow_run_id)
        assert (f"sign in {block}: signed in", {"etrade", "live", block}) == (run.name, set(run.tags))

    @pytest.mark.essential
    def test_nothing_asked_or_entered_is_kept(self, simulator: Simulator, block: str, person: Any) -> None:
        """The form and its answer are deleted, and the artifact asks nobody to sign in."""
        person.answers()
        state = sign_in(block, return_state=True)
        assert [] == inputs_of(state)
        assert "No run is waiting" in Artifact.get(artifact_key(block)).data

    @pytest.mark.parametrize("rerun", [False, True])
    def test_runs_that_waited_go_on_if_asked(
        self, simulator: Simulator, block: str, person: Any, *, rerun: bool
    ) -> None:
        """A run that paused until a sign-in is resumed if `sign-in` is asked to do that, and only then."""
        with get_client(sync_client=True) as client:
            waiting = client.create_flow_run(last_word)
            paused = Paused(timeout_seconds=600, pause_key=pause_key(block))
            client.set_flow_run_state(waiting.id, paused, force=True)
            person.answers()
            sign_in(block, rerun=rerun)
            assert ("Running" if rerun else "Paused") == client.read_flow_run(waiting.id).state.name


class TestElsewhere:
    """Somebody signs in another way while the run waits."""

    @pytest.mark.parametrize("keep_open_for", [timedelta(0), timedelta(hours=12)])
    def test_run_ends_signed_in(
        self,
        *,
        simulator: Simulator,
        signed_out: str,
        first_rounds: Callable[..., None],
        credentials_for: Callable[..., ETradeCredentials],
        keep_open_for: timedelta,
    ) -> None:
        """The run completes and says so, the other token stays, and the form is deleted."""
        newer = credentials_for(simulator.sign_in("live"))
        first_rounds(1, meanwhile=lambda: store(signed_out, newer))
        state = sign_in(signed_out, keep_open_for=keep_open_for, return_state=True)
        assert "Completed" == state.name
        assert state.message.startswith("Somebody has signed in elsewhere.")
        assert (newer, []) == (stored_credentials(signed_out), inputs_of(state))
        assert [f"/oauth{REQUEST}", RENEW] == [call.path for call in simulator.calls()]

    @pytest.mark.parametrize("token", ["none", "dead"])
    def test_token_that_is_no_good_is_no_sign_in(
        self,
        *,
        simulator: Simulator,
        block: str,
        credentials: ETradeCredentials,
        first_rounds: Callable[..., None],
        credentials_for: Callable[..., ETradeCredentials],
        token: str,
    ) -> None:
        """If the token is deleted while the run waits, or E*TRADE refuses a new one, nobody is signed in."""
        dead = credentials_for(simulator.sign_in("live"), access_token="fake-token")
        other = without_token(credentials) if token == "none" else dead
        first_rounds(1, meanwhile=lambda: store(block, other))
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

    @pytest.mark.usefixtures("impatience")
    def test_nobody_comes_in_all_the_time(self, simulator: Simulator, signed_out: str) -> None:
        """If nobody comes in time, the run fails, and its forms are deleted."""
        state = sign_in(signed_out, keep_open_for=timedelta(seconds=2), return_state=True)
        assert ("Failed", []) == (state.name, inputs_of(state))
        assert 1 < len(simulator.calls(REQUEST))
        assert "Failed" == state_of(state.state_details.flow_run_id).name

    def test_good_session_asks_nobody(self, simulator: Simulator, block: str) -> None:
        """If somebody has signed in before a late run begins, it completes without a link."""
        state = sign_in(block, keep_open_for=timedelta(hours=12), return_state=True)
        assert ("Completed", [RENEW]) == (state.name, [call.path for call in simulator.calls()])

    def test_outage_is_outlasted(
        self, simulator: Simulator, signed_out: str, person: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If E*TRADE is down at first, the run asks for a link again later, and gets one."""
        monkeypatch.setattr(sys.modules["etrade_flows.sign_in"], "OUTAGE_PAUSE", 0.1)
        simulator.plant(Fault(status=503), path=REQUEST, times=ATTEMPTS)
        person.answers()
        assert "Completed" == sign_in(signed_out, keep_open_for=timedelta(hours=12), return_state=True).name
        assert ATTEMPTS + 1 == len(simulator.calls(REQUEST))

    def test_run_in_an_outage_is_not_taken_for_dead(
        self, simulator: Simulator, signed_out: str, person: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However long the outage, another sign-in does not end a run that still asks for a link."""
        monkeypatch.setattr(sys.modules["etrade_flows.sign_in"], "OUTAGE_PAUSE", 2.5)
        monkeypatch.setattr(way_in, "SILENCE", timedelta(seconds=4))
        simulator.plant(Fault(status=503), path=REQUEST, times=3 * ATTEMPTS)
        rounds: list[int] = []

        def another_begins() -> None:
            show_life()
            rounds.append(len(simulator.calls(REQUEST)))
            clear_leftovers(signed_out)

        show_life = form.show_life
        monkeypatch.setattr(sys.modules["etrade_flows.sign_in"], "show_life", another_begins)
        person.answers()
        assert "Completed" == sign_in(signed_out, keep_open_for=timedelta(hours=12), return_state=True).name
        assert [ATTEMPTS, 2 * ATTEMPTS, 3 * ATTEMPTS] == rounds

    def test_outage_fails_a_run_by_hand(self, simulator: Simulator, signed_out: str) -> None:
        """A person who waits for the link gets an error at once."""
        simulator.plant(Fault(status=503), path=REQUEST, times=ATTEMPTS)
        with pytest.raises(AuthorizationFailed):
            sign_in(signed_out)

    def test_run_by_hand_asks_in_any_case(self, simulator: Simulator, block: str, person: Any) -> None:
        """A person who starts a sign-in is asked, even if the session is good."""
        person.answers()
        sign_in(block)
        assert 1 == len(person.forms)

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

    @pytest.mark.parametrize("cancelled", [Cancelling, Cancelled])
    def test_cancelled_run_ends(
        self,
        *,
        simulator: Simulator,
        signed_out: str,
        person: Any,
        first_rounds: Callable[..., None],
        cancelled: Callable[[], State[Any]],
    ) -> None:
        """A run that somebody cancels while it waits ends."""

        def cancel() -> None:
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(current_run().id, cancelled(), force=True)

        first_rounds(1, meanwhile=cancel)
        state = sign_in(signed_out, keep_open_for=timedelta(hours=12), return_state=True)
        assert (2, False) == (len(simulator.calls(REQUEST)), state.is_completed())


class TestServerFails:
    """The Prefect server does not do what it should, but the person has signed in."""

    def test_deleted_artifact(
        self, simulator: Simulator, block: str, person: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If somebody deletes the artifact while the run waits, the run completes with a warning."""

        def delete_artifact() -> None:
            with get_client(sync_client=True) as client:
                client.delete_artifact(Artifact.get(artifact_key(block)).id)

        person.before_resuming = delete_artifact
        person.answers()
        assert "Completed" == sign_in(block, return_state=True).name
        assert f"The artifact '{artifact_key(block)}' could not be updated" in caplog.text

    @pytest.mark.parametrize(
        ("call", "lost"),
        [
            ("clear_leftovers", "The leftovers of earlier sign-ins could not be deleted (ConnectionError)."),
            ("let_go_on", "The waiting runs could not be looked up (ConnectionError)."),
        ],
    )
    def test_lost_connection(
        self,
        *,
        simulator: Simulator,
        block: str,
        person: Any,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        lost: str,
    ) -> None:
        """A lost connection before or after the sign-in does not fail the run."""

        def fail(credentials: str) -> None:
            raise ConnectionError

        monkeypatch.setattr(sys.modules[sign_in.fn.__module__], call, fail)
        person.answers()
        assert "Completed" == sign_in(block, rerun=True, return_state=True).name
        assert lost in caplog.text


WAITING = """
import sys
from etrade_flows.person import form
from etrade_flows.sign_in import sign_in
form.PATIENCE = int(sys.argv[2])
sign_in(sys.argv[1])
"""


class TestKilled:
    """The process of a waiting run is killed."""

    @pytest.fixture
    def abandon(
        self, simulator: Simulator, block: str, person: Any, wait_until: Any
    ) -> Callable[[int], UUID]:
        """Returns a run that was killed while its form was open; its pause lasts this many seconds."""
        simulator.timestamp_tolerance = timedelta(days=10_000)  # that process uses the machine's clock

        def start_and_kill(patience: int) -> UUID:
            process = subprocess.Popen(
                [sys.executable, "-c", WAITING, block, str(patience)],
                env=os.environ | {"PREFECT_API_URL": get_current_settings().api.url},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_until(lambda: person.waits() is not None, seconds=60)
                run_id, _ = person.waits()
            finally:
                process.kill()
                process.wait()
            return run_id

        return start_and_kill

    def test_old_token_stays(
        self, simulator: Simulator, block: str, credentials: ETradeCredentials, abandon: Any
    ) -> None:
        """The block still holds the old token, and E*TRADE accepts it."""
        abandon(60)
        assert credentials == stored_credentials(block)
        with stored_credentials(block).get_client() as client:
            assert 200 == client.get("/v1/accounts/list.json").status_code

    def test_next_sign_in_clears_what_was_left(
        self, block: str, abandon: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once nobody can answer the form any more, it is deleted, and its run is ended."""
        monkeypatch.setattr(way_in, "GRACE", timedelta(0))
        abandoned = abandon(3)

        def cleared() -> bool:
            clear_leftovers(block)
            return (state_of(abandoned).is_crashed(), inputs_of(abandoned)) == (True, [])

        assert [] != inputs_of(abandoned)
        wait_until(cleared, seconds=30)

    def test_late_answer_is_cleared(self, block: str, abandon: Any, wait_until: Any) -> None:
        """If Resume was pressed too late, Prefect has failed the run, and its form is deleted too."""
        abandoned = abandon(3)
        over = state_of(abandoned).state_details.pause_timeout
        wait_until(lambda: datetime.now(UTC) > over, seconds=30)
        with get_client(sync_client=True) as client:
            client.resume_flow_run(abandoned, run_input={"verifier": "fake-verifier"})
        assert (True, True) == (state_of(abandoned).is_failed(), inputs_of(abandoned) != [])
        clear_leftovers(block)
        assert (True, []) == (state_of(abandoned).is_failed(), inputs_of(abandoned))

    def test_answer_to_a_dead_process_is_cleared(
        self, block: str, abandon: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A resumed run that takes longer than any sign-in is ended, and its verifier is deleted."""
        abandoned = abandon(600)
        with get_client(sync_client=True) as client:
            client.resume_flow_run(abandoned, run_input={"verifier": "fake-verifier"})
        clear_leftovers(block)
        assert (True, True) == (state_of(abandoned).is_running(), "paused-1-response" in inputs_of(abandoned))
        monkeypatch.setattr(way_in, "SILENCE", timedelta(0))
        clear_leftovers(block)
        assert (True, []) == (state_of(abandoned).is_crashed(), inputs_of(abandoned))

    def test_run_of_another_flow_is_left_alone(self, simulator: Simulator, block: str) -> None:
        """A paused run of another flow is left alone, even if it has the name of a sign-in."""
        with get_client(sync_client=True) as client:
            other = client.create_flow_run(last_word, name=f"sign in {block}").id
            client.set_flow_run_state(other, Paused(timeout_seconds=-600), force=True)
            client.create_flow_run_input(flow_run_id=other, key="paused-1-schema", value="{}")
        clear_leftovers(block)
        assert (True, ["paused-1-schema"]) == (state_of(other).is_paused(), inputs_of(other))

    def test_run_that_still_waits_is_left_alone(self, simulator: Simulator, block: str, person: Any) -> None:
        """A second sign-in does not delete the form of a first one that still waits."""
        person.answers()
        with ThreadPoolExecutor(max_workers=1) as other:
            person.before_answering = lambda: other.submit(clear_leftovers, block).result()
            assert "Completed" == sign_in(block, return_state=True).name


class TestRefused:
    """The sign-in fails."""

    def test_wrong_verifier_is_asked_for_again(self, simulator: Simulator, block: str, person: Any) -> None:
        """After a wrong verifier the next form says so, with a new link, and the right verifier signs in."""
        person.answers(lambda verifier: "wrong")
        person.answers()
        assert "Completed" == sign_in(block, return_state=True).name
        assert 2 == len(set(person.seen))
        assert [False, True] == ["The verifier is not the one" in form for form in person.forms]

    def test_wrong_verifiers_come_to_an_end(self, simulator: Simulator, block: str, person: Any) -> None:
        """After three wrong verifiers the run fails, and the old token is still there."""
        before = token_of(block)
        for _ in range(ROUNDS):
            person.answers(lambda verifier: "wrong")
        with pytest.raises(VerifierRefused):
            sign_in(block)
        assert (ROUNDS, before) == (len(simulator.calls(REQUEST)), token_of(block))

    @pytest.mark.usefixtures("impatience")
    def test_nobody_answers(self, simulator: Simulator, block: str) -> None:
        """If nobody answers, the run fails, the token stays, and form and call for a person are gone."""
        before = token_of(block)
        state = sign_in(block, return_state=True)
        assert "Failed" == state.name
        assert ([], before) == (inputs_of(state), token_of(block))
        assert "No run is waiting" in Artifact.get(artifact_key(block)).data

    @pytest.mark.usefixtures("impatience")
    def test_server_keeps_the_name(self, simulator: Simulator, block: str) -> None:
        """The run list shows our message with what to do, and not the server's own."""
        state = sign_in(block, return_state=True)
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(state.state_details.flow_run_id)
        assert "Nobody entered a verifier in time.\nNext: run it again." == run.state.message

    def test_run_after_an_unanswered_one_succeeds(
        self, simulator: Simulator, block: str, person: Any
    ) -> None:
        """A run that nobody answered does not disturb the next one."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(form, "PATIENCE", 0.2)
            sign_in(block, return_state=True)
        person.answers()
        assert "Completed" == sign_in(block, return_state=True).name

    def test_unproven_token_is_not_stored(
        self, simulator: Simulator, block: str, person: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If a new token cannot be renewed, the run fails and the block keeps the old one."""
        monkeypatch.setenv("ETRADE_DEADLINE", "0.3")
        before = token_of(block)
        simulator.plant(Fault(status=500), path=RENEW, times=9)
        person.answers()
        with pytest.raises(RenewalFailed):
            sign_in(block)
        assert before == token_of(block)

    def test_refused_consumer_key_asks_nobody(self, simulator: Simulator, block: str) -> None:
        """If E*TRADE refuses the consumer key, the run fails before it pauses."""
        simulator.plant(Fault(status=401, body="oauth_problem=consumer_key_rejected"), path=REQUEST)
        with pytest.raises(ConfigurationRefused):
            sign_in(block)

    def test_missing_block_fails(self, prefect_server: None) -> None:
        """Without a block to write the token to, the flow fails."""
        with pytest.raises(CredentialsNotFound):
            sign_in("nobody")


def test_sweep_finds_no_secret(
    *,
    simulator: Simulator,
    block: str,
    person: Any,
    credentials: ETradeCredentials,
    caplog: pytest.LogCaptureFixture,
    database: Callable[[], str],
    files_at_rest: Callable[[], dict[str, bytes]],
    wait_until: Callable[..., None],
) -> None:
    """After a refused and a good verifier, database, files and logs hold no secret, link or verifier."""
    caplog.set_level(logging.DEBUG)
    # httpcore logs an answer's headers at DEBUG: a user who turns that on gets what is on the wire.
    caplog.set_level(logging.INFO, logger="httpcore")

    person.answers(lambda verifier: "fake-wrong-verifier")
    person.answers()
    sign_in(block)
    last_word(block)
    keys = [each.signing_keys for each in (credentials, stored_credentials(block))]
    secrets = {s for k in keys for s in (k.consumer_key, k.consumer_secret, k.token, k.token_secret) if s}
    links = {parse_qs(urlsplit(address).query)["token"][0] for address in person.seen}
    spellings = {s for each in secrets | links | {*person.entered} for s in (each, quote(each, safe=""))}
    # Logs and events are written after the run.
    wait_until(lambda: f"fake-last-word of {block}" in database(), seconds=60)
    ended = f'INSERT INTO "events".*flow-run.Completed.*last word of {block}'
    wait_until(lambda: re.search(ended, database()) is not None, seconds=60)
    content = b"\n".join([database().encode(), caplog.text.encode(), *files_at_rest().values()])
    assert {2} == {len(links), len(person.entered)}
    assert artifact_key(block).encode() in content
    assert [] == [spelling for spelling in spellings if spelling.encode() in content]
