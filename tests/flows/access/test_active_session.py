"""`active_session`: getting a session again without a flow run."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from datetime import timedelta

import pytest
from prefect import flow, tags, task
from prefect.client.orchestration import get_client
from prefect.context import hydrated_context, serialize_context
from prefect.exceptions import MissingContextError
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings

from etrade_flows import active_session, renew_access_token
from etrade_flows.access import memory
from etrade_flows.access.renewal import revived_session
from etrade_flows.renew_fleet import renew_fleet
from etrade_flows.runs.tags import current_run
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, RenewalFailed, SessionTooShort, SignInRequired, TokenSession
from etrade_tasks.load_credentials import current_credentials

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"


def eight_at_once(ask: Callable[..., TokenSession], *each: object) -> list[Future[TokenSession]]:
    """Calls `ask` in eight threads at the same time, with these arguments in turn; returns the results."""
    with ThreadPoolExecutor(8) as pool:
        return [pool.submit(copy_context().run, ask, each[nth % len(each)]) for nth in range(8)]


@pytest.mark.essential
def test_first_call_renews_and_the_next_remember(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first caller renews, and later callers get the remembered session without any task or call."""
    first = active_session(block)
    monkeypatch.setattr("etrade_flows.access.renewal.renew", lambda *_, **__: pytest.fail("asked again"))
    second = active_session(block)
    assert (False, True) == (first.reused, second.reused)
    assert first.renewed_at == second.renewed_at
    assert 1 == len(simulator.calls(RENEW))


def test_nothing_warns_outside_of_a_flow(simulator: Simulator, block: str) -> None:
    """A plain script gets its session without Prefect's warning that its logs belong to no flow run."""
    with temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "warn"}):
        assert active_session(block).reused is False


def test_who_wants_an_error_outside_of_a_flow_gets_it(simulator: Simulator, block: str) -> None:
    """A user who asks Prefect for an error on logs without a flow run still gets that error."""
    with (
        temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "error"}),
        pytest.raises(MissingContextError),
    ):
        active_session(block)


def test_memory_heeds_what_is_required(simulator: Simulator, block: str) -> None:
    """A remembered session that ends before the caller is done with it is refused."""
    active_session(block)
    with pytest.raises(SessionTooShort, match="13 h 00 min are needed"):
        active_session(block, required_for=timedelta(hours=13))


@pytest.mark.essential
def test_threads_share_one_renewal(simulator: Simulator, block: str) -> None:
    """Eight threads that ask at the same time make one call."""
    sessions = [future.result() for future in eight_at_once(active_session, block)]
    assert 1 == len({session.renewed_at for session in sessions})
    assert 1 == len(simulator.calls(RENEW))


def test_threads_share_a_failure(simulator: Simulator, block: str) -> None:
    """Eight threads that ask at the same time make one call, and each gets an error if it is refused."""
    simulator.plant(Fault(status=401, body="oauth_problem=token_rejected", delay=1), path=RENEW, times=8)
    told = [future.exception() for future in eight_at_once(active_session, block)]
    assert [SignInRequired] * 8 == [type(error) for error in told]
    assert (8, 1) == (len({id(error) for error in told}), len(simulator.calls(RENEW)))


def test_need_of_one_thread_fails_no_other(simulator: Simulator, block: str) -> None:
    """A thread that needs the session for too long fails alone, even if others ask at the same time."""
    ask = lambda span: active_session(block, required_for=span)  # noqa: E731
    told = eight_at_once(ask, timedelta(hours=13), timedelta(0))
    assert [True, False] * 4 == [future.exception() is not None for future in told]


def test_who_asks_after_a_failure_tries_anew(simulator: Simulator, block: str) -> None:
    """A failure goes to the callers that waited for it, and not to those that ask later."""
    simulator.plant(Fault(status=401, body="oauth_problem=token_rejected"), path=RENEW)
    with pytest.raises(SignInRequired):
        active_session(block)
    assert active_session(block).reused is False


def test_forced_renewal_that_fails_is_no_answer_to_others(
    simulator: Simulator,
    block: str,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
) -> None:
    """While a refused call's renewal fails, others still get the session of the renewal before."""
    active_session(block)
    monkeypatch.setenv("ETRADE_DEADLINE", "4")
    simulator.plant(Fault(status=503), path=RENEW, times=100)
    with ThreadPoolExecutor() as pool:
        forced = pool.submit(copy_context().run, revived_session, block, time.monotonic())
        wait_until(lambda: len(simulator.calls(RENEW)) > 1, seconds=30)
        assert active_session(block).reused
        assert isinstance(forced.exception(timeout=60), RenewalFailed)


def test_renewal_remembered_late_is_no_answer_to_a_refusal(simulator: Simulator, block: str) -> None:
    """A renewal made before a call was sent does not answer its refusal, however late it is remembered."""
    active_session(block)
    simulator.advance(timedelta(minutes=5))
    sent_at = time.monotonic()
    assert renew_access_token(block).reused
    assert revived_session(block, sent_at).reused is False


def test_one_thread_looks_while_the_others_trust_memory(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When memory is due for a look at the credentials, one thread asks the server."""
    active_session(block)
    looks = []

    def look(name: str) -> ETradeCredentials | None:
        looks.append(name)
        time.sleep(0.2)  # as a server takes
        return current_credentials(name)

    monkeypatch.setattr(memory, "current_credentials", look)
    memory._known[block] = replace(memory._known[block], looked_at=0.0)
    assert all(future.result().reused for future in eight_at_once(active_session, block))
    assert [block] == looks


@pytest.mark.parametrize(
    "renew", [active_session, renew_access_token, lambda name: renew_fleet([name])[name]]
)
def test_tag_with_a_limit_does_not_hang(
    simulator: Simulator, block: str, renew: Callable[[str], TokenSession]
) -> None:
    """Under a tag that allows one task at a time, no renewal waits for itself, even inside such a task."""
    with get_client(sync_client=True) as client:
        client.create_concurrency_limit(tag="one-at-a-time", concurrency_limit=1)

    @task
    def works() -> TokenSession:
        return renew(block)

    @flow(timeout_seconds=60)
    def pipeline() -> list[TokenSession]:
        with tags("one-at-a-time"):
            return [works(), renew(block)]

    assert [False, True] == [session.reused for session in pipeline()]


OUT = {"access_token": None, "access_token_secret": None}


def test_one_account_keeps_the_tag_of_another(
    simulator: Simulator, block: str, save: Callable[..., str]
) -> None:
    """A run that needs a sign-in for one account keeps the tag for it when it renews another."""
    out = save("out", **OUT)

    @flow
    def pipeline() -> list[str]:
        with pytest.raises(SignInRequired):
            active_session(out)
        active_session(block)
        return current_run().tags

    assert {out, "outcome:sign-in-required"} <= set(pipeline())


def at_the_same_time(names: list[str]) -> None:
    """Ask for each in a task of its own."""
    task(active_session).map(names).wait()


def on_other_machines(names: list[str]) -> None:
    """Ask for each with a copy of the run as it is now, as the tasks of a cluster have it."""
    for name, context in [(name, serialize_context()) for name in names]:
        with hydrated_context(context), pytest.raises(SignInRequired):
            active_session(name)


@pytest.mark.parametrize("ask_for", [at_the_same_time, on_other_machines])
def test_accounts_keep_each_other_s_tags(
    simulator: Simulator, save: Callable[..., str], ask_for: Callable[[list[str]], None]
) -> None:
    """If several accounts of a run need a sign-in, the run is tagged for each."""
    names = [save(name, **OUT) for name in "abc"]

    @flow
    def pipeline() -> list[str]:
        ask_for(names)
        with get_client(sync_client=True) as client:
            return client.read_flow_run(current_run().id).tags

    assert set(names) <= set(pipeline())
