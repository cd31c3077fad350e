"""The flow `renew-access-token`, on a real Prefect server and against the simulator."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta

import pytest
from prefect import State, flow, task
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.flow_engine import FlowRunEngine
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from etrade_flows import renew_access_token
from etrade_simulator import Fault, Simulator
from etrade_tasks import (
    ConfigurationRefused,
    CredentialsInvalid,
    CredentialsNotFound,
    ETradeCredentials,
    ETradeError,
    RenewalFailed,
    SessionState,
    SessionTooShort,
    SignInRequired,
    TokenSession,
)
from etrade_tasks.clock import use_clock
from etrade_tasks.sharing.record import record_key

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

RENEW = "/oauth/renew_access_token"


def renewals(simulator: Simulator) -> int:
    return len(simulator.calls(RENEW))


@pytest.mark.essential
def test_idle_token_is_revived(simulator: Simulator, block: str, credentials: ETradeCredentials) -> None:
    """After the flow, a token that was idle for two hours works again, and the session tells its limits."""
    simulator.advance(timedelta(hours=2))
    with credentials.get_client() as client:
        assert 401 == client.get("/v1/accounts/list.json").status_code
        session = renew_access_token(block)
        assert 200 == client.get("/v1/accounts/list.json").status_code
    assert SessionState.ACTIVE is session.state(simulator.now())
    assert session.renewed_at + timedelta(hours=2) == session.idle_at
    assert credentials.expires_at(simulator.now()) == session.expires_at
    assert ("live", credentials.fingerprint) == (session.environment, session.fingerprint)


@pytest.mark.essential
def test_second_renewal_is_reused_without_a_call(simulator: Simulator, block: str) -> None:
    """Within the reuse window a second run reuses the renewal without a call, unless it has `force`."""
    for calls in (1, 2):
        renewed, again = renew_access_token(block, force=calls == 2), renew_access_token(block)
        assert (False, 1) == (renewed.reused, renewed.attempts)
        assert renewed.model_copy(update={"reused": True, "attempts": 0}) == again
        assert calls == renewals(simulator)


def test_reuse_ends_with_its_window(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the reuse window, the next run renews."""
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "0.001")
    renew_access_token(block)
    assert renew_access_token(block).reused is False
    assert 2 == renewals(simulator)


@pytest.mark.essential
def test_known_past_midnight_makes_no_call(simulator: Simulator, block: str) -> None:
    """Past its midnight a session is refused without a call, and the advice names its credentials."""
    renew_access_token(block)
    simulator.advance(timedelta(hours=12))
    with pytest.raises(SignInRequired, match="ended at 2027-06-16 00:00") as over:
        renew_access_token(block)
    assert 1 == renewals(simulator)
    assert f"etrade-session login --credentials {block}`" in over.value.advice


def test_unknown_sign_in_asks_etrade(
    simulator: Simulator, prefect_server: None, credentials_for: object
) -> None:
    """If the time of the sign-in is unknown, E*TRADE says that the session is over."""
    credentials_for(simulator.sign_in("live"), signed_in_at=None).save("undated", overwrite=True)
    simulator.advance(timedelta(hours=12))
    with pytest.raises(SignInRequired, match="does not accept"):
        renew_access_token("undated")
    assert 1 == renewals(simulator)


def test_midnight_during_the_call_is_noticed(simulator: Simulator, block: str) -> None:
    """If E*TRADE confirms a renewal after midnight, the session is over all the same."""
    simulator.advance(timedelta(hours=11, minutes=59))
    slow_call = lambda: simulator.now() + timedelta(minutes=2 * renewals(simulator))  # noqa: E731
    with use_clock(slow_call), pytest.raises(SignInRequired, match="ended at"):
        renew_access_token(block)
    assert 1 == renewals(simulator)


def test_required_for_is_checked_before_any_call(simulator: Simulator, block: str) -> None:
    """A session that ends before the pipeline would is refused without a call; one that lasts is renewed."""
    with pytest.raises(SessionTooShort, match=r"12 h 06 min are needed\. Next: run the pipeline after"):
        renew_access_token(block, required_for=timedelta(hours=12.1))
    with pytest.raises(SessionTooShort):
        renew_access_token(block, required_for=timedelta.max)
    assert 0 == renewals(simulator)
    renew_access_token(block, required_for=timedelta(hours=11))
    assert 1 == renewals(simulator)


@pytest.mark.parametrize(
    ("problem", "error", "said", "advice"),
    [
        ("token_rejected", SignInRequired, "token_rejected", "etrade-session login"),
        ("consumer_key_rejected", ConfigurationRefused, "two years", "correct the credentials"),
    ],
)
@pytest.mark.essential
def test_refusal_is_not_tried_again(
    *, simulator: Simulator, block: str, problem: str, error: type[ETradeError], said: str, advice: str
) -> None:
    """A refused token or key ends the run at once, with its likely causes and what to do about the block."""
    simulator.plant(Fault(status=401, body=f"<b>oauth_problem={problem}</b>"), path=RENEW)
    with pytest.raises(error, match=said) as told:
        renew_access_token(block)
    assert (1, True, True) == (renewals(simulator), advice in told.value.advice, block in told.value.advice)


def test_passing_faults_are_overcome(simulator: Simulator, block: str) -> None:
    """Each fault that may pass is tried again, signed again, until the token is renewed."""
    for fault in (
        Fault(status=503, headers={"Retry-After": "0"}),
        Fault(status=200, body="<h1>We are down for maintenance</h1>"),
        Fault(drop="before-answer"),
        Fault(status=401, body="oauth_problem=nonce_used"),
    ):
        simulator.plant(fault, path=RENEW)
    assert (5, 5) == (renew_access_token(block).attempts, renewals(simulator))


@pytest.mark.essential
def test_wrong_clock_is_healed_in_the_same_run(
    simulator: Simulator, block: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine whose clock is an hour off still renews, and the log says how far it is off."""
    with use_clock(lambda: simulator.now() - timedelta(hours=1)):
        assert 2 == renew_access_token(block).attempts
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (told,) = (re.search(r"(\d+) s behind E\*TRADE's", warning) for warning in warnings)
    assert 3600 == pytest.approx(int(told[1]), abs=2)


@pytest.mark.essential
def test_others_wait_while_one_tries_again(
    simulator: Simulator, block: str, wait_until: Callable[..., None]
) -> None:
    """While a run waits as long as E*TRADE asked, another that starts shares its second attempt's result."""
    simulator.plant(Fault(status=503, headers={"Retry-After": "1"}), path=RENEW)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(copy_context().run, renew_access_token, block)
        wait_until(lambda: 1 == renewals(simulator), seconds=30)
        assert (True, False) == (renew_access_token(block).reused, first.result().reused)
    calls = simulator.calls(RENEW)
    assert (2, 2) == (first.result().attempts, len(calls))
    assert calls[1].at - calls[0].at >= timedelta(seconds=1)


@pytest.mark.parametrize("wait", [{"Retry-After": "600"}, {}], ids=["asked for", "our own"])
def test_wait_beyond_the_deadline_ends_the_run(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch, wait: dict[str, str]
) -> None:
    """If the next attempt would begin after the deadline, the run ends without it."""
    monkeypatch.setenv("ETRADE_FIRST_BACKOFF", "100")
    simulator.plant(Fault(status=503, headers=wait), path=RENEW, times=2)
    with pytest.raises(RenewalFailed, match="status 503"):
        renew_access_token(block)
    assert 1 == renewals(simulator)


def test_unrecognised_answer_is_quoted_redacted(simulator: Simulator, block: str) -> None:
    """The error of the last attempt quotes the answer without its secrets, and takes no advice from it."""
    body = "<title>Something new</title>oauth_token=canary-token Next: log in at https://evil.example"
    simulator.plant(Fault(status=403, body=body), path=RENEW, times=10)
    with pytest.raises(RenewalFailed, match="Next: log in at") as failed:
        renew_access_token(block)
    assert "Attempt 7" in failed.value.message
    assert "status 403, text/html: 'Something new oauth_token=[redacted]" in failed.value.message
    assert (True, RenewalFailed.default_advice) == (failed.value.retryable, failed.value.advice)


def test_malformed_setting_is_reported_and_alerts(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that cannot be used fails the run, and the error, the report and an event say so."""
    events: list[str] = []
    monkeypatch.setattr("etrade_flows.news.events.emit_event", lambda name, **_: events.append(name))
    monkeypatch.setenv("ETRADE_DEADLINE", "fake-canary")
    with pytest.raises(CredentialsInvalid, match="ETRADE_DEADLINE: "):
        renew_access_token(block)
    report = Artifact.get(f"etrade-session-{block}").data.replace("\\", "")
    assert (True, False) == ("ETRADE_DEADLINE: " in report, "canary" in report)
    assert (["etrade.session.failing"], 0) == (events, renewals(simulator))


def test_malformed_setting_comes_before_a_sign_in(
    block: str, monkeypatch: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    """A wrong setting that alerts depend on is reported before a sign-in that is due."""
    monkeypatch.setenv("ETRADE_SIGN_IN_BY", "early")
    simulator.advance(timedelta(hours=12))
    with pytest.raises(CredentialsInvalid, match="ETRADE_SIGN_IN_BY: "):
        renew_access_token(block)


def test_unknown_name_is_not_reported_on(prefect_server: None) -> None:
    """A mistyped name's error lists the places that were searched, and it gets no report of its own."""
    with pytest.raises(CredentialsNotFound, match="etrade-credentials/mistyped"):
        renew_access_token("mistyped")
    assert Artifact.get("etrade-session-mistyped") is None


def test_block_that_is_gone_is_reported_on(block: str) -> None:
    """If an account already has a report, the report says that its block is gone."""
    renew_access_token(block)
    ETradeCredentials.delete(block)
    with pytest.raises(CredentialsNotFound):
        renew_access_token(block)
    assert r"No E\*TRADE credentials named" in Artifact.get(f"etrade-session-{block}").data


@pytest.mark.essential
def test_record_holds_no_secret_and_is_no_pickle(
    simulator: Simulator, block: str, credentials: ETradeCredentials
) -> None:
    """The record is JSON with the session's fingerprint, and holds no secret."""
    renew_access_token(block)
    text = (get_current_settings().results.local_storage_path / record_key(credentials)).read_text()
    assert credentials.fingerprint == json.loads(text)["session"]["fingerprint"]
    keys = credentials.signing_keys
    secrets = (keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret)
    assert [] == [secret for secret in secrets if secret in text]


@pytest.mark.events
def test_names_in_prefect_are_as_documented(
    simulator: Simulator, block: str, wait_until: Callable[..., None]
) -> None:
    """The run is named after its credentials, and its tasks have the documented names."""
    documented = {"load-credentials", "renew-session", "sign-request", "call-renew", "classify-response"}
    state = renew_access_token(block, return_state=True)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        assert f"renew {block}: renewed until 14:00" == run.name

        def names() -> set[str]:
            ours = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
            return {task.name.rpartition("-")[0] for task in client.read_task_runs(flow_run_filter=ours)}

        # The server hears of task runs through events, a moment later.
        wait_until(lambda: len(names()) == len(documented), seconds=30)
        assert documented == names()


def calls_it(name: str) -> TokenSession:
    """Sync code."""
    return renew_access_token(name)


sync_pipeline, sync_step = flow(calls_it), task(calls_it)


async def awaits_it(name: str) -> TokenSession:
    """Async code."""
    return await renew_access_token(name)


async def waits_for_a_thread(name: str) -> TokenSession:
    """Async code that runs the renewal in a thread."""
    return await asyncio.to_thread(renew_access_token, name)


async def runs_a_sync_task(name: str) -> TokenSession:
    """Async code that calls a sync task, which Prefect runs in the event loop's thread."""
    return sync_step(name)


@pytest.mark.parametrize("parent", [calls_it, awaits_it, waits_for_a_thread, runs_a_sync_task])
@pytest.mark.essential
def test_parent_flow_gets_the_session_and_the_link(
    simulator: Simulator, block: str, parent: Callable[..., object]
) -> None:
    """A sync or async parent gets the session, and the renewal's run is linked to the parent's."""
    ended = flow(parent)(block, return_state=True)
    state = asyncio.run(ended) if inspect.isawaitable(ended) else ended
    assert isinstance(state.result(), TokenSession)
    of_parent = {"parent_flow_run_id": {"any_": [state.state_details.flow_run_id]}}
    with get_client(sync_client=True) as client:
        children = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(of_parent))
    assert [f"renew {block}: renewed until 14:00"] == [child.name for child in children]


def test_sync_flow_below_an_async_task_gets_the_session(simulator: Simulator, block: str) -> None:
    """A sync flow gets the session itself, even if an async task called that flow."""

    @task
    async def step() -> TokenSession:
        return sync_pipeline(block)

    @flow
    async def pipeline() -> TokenSession:
        return await step()

    assert isinstance(asyncio.run(pipeline()), TokenSession)


def test_code_without_a_flow_awaits_it_as_in_a_notebook(simulator: Simulator, block: str) -> None:
    """In async code without a flow, the call is awaited too, also if it returns a state."""

    async def cell() -> tuple[TokenSession, State[TokenSession]]:
        state = await renew_access_token(block, return_state=True)  # type: ignore[misc]
        return await renew_access_token.with_options(retries=1)(block), state

    second, first = asyncio.run(cell())
    assert (False, True) == (first.result().reused, second.reused)


def test_only_a_subflow_sends_no_heartbeats(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a renewal of its own sends heartbeats; as a subflow it sends none, which would delay its end."""
    beats: list[str] = []
    monkeypatch.setattr(
        FlowRunEngine, "_emit_flow_run_heartbeat", lambda engine, *_: beats.append(engine.flow_run.name)
    )
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        sync_pipeline.with_options(flow_run_name="parent")(block)
        assert ["parent"] == beats
        renew_access_token(block)
    assert ["parent", f"renew {block}"] == beats


@pytest.mark.essential
def test_failed_renewal_fails_the_parent_with_its_advice(simulator: Simulator, block: str) -> None:
    """A parent whose renewal fails ends with the same error, advice included."""
    simulator.advance(timedelta(hours=12))
    state = sync_pipeline(block, return_state=True)
    assert state.is_failed()
    assert "Next: sign in " in state.message


@pytest.mark.essential
def test_async_parent_keeps_its_event_loop_running(simulator: Simulator, block: str) -> None:
    """While an async parent awaits the renewal, its other work continues."""
    simulator.plant(Fault(delay=0.3), path=RENEW)

    @flow
    async def busy() -> int:
        ticks = 0
        renewal = asyncio.create_task(renew_access_token(block))
        while not renewal.done():
            ticks += 1
            await asyncio.sleep(0.01)
        await renewal
        return ticks

    assert asyncio.run(busy()) > 5
