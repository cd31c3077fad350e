"""Scheduled pipelines that report a due sign-in once, and not at each run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.states import State

from etrade_flows import active_session, end_without_sign_in
from etrade_flows.access.memory import forget_sessions
from etrade_flows.person.login import store, without_token
from etrade_flows.person.waiting_runs import let_go_on
from etrade_flows.runs.once_a_day import alert_is_due
from etrade_tasks import ETradeCredentials, SignInRequired
from etrade_tasks.session import EASTERN

pytestmark = [
    pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory"),
    pytest.mark.real_time,
]

RunBySchedule = Callable[..., State[Any]]


@flow
def quotes(credentials: str, hours: int = 0) -> str | State[str]:
    """Needs a session, for so many hours."""
    try:
        return active_session(credentials, required_for=timedelta(hours=hours)).environment
    except SignInRequired as error:
        return end_without_sign_in(error)


@flow
async def async_quotes(credentials: str) -> str | State[str]:
    """Needs a session, and does not block the event loop."""
    try:
        return (await asyncio.to_thread(active_session, credentials)).environment
    except SignInRequired as error:
        return await asyncio.to_thread(end_without_sign_in, error)


@pytest.mark.parametrize("pipeline", [quotes, async_quotes], ids=["sync", "async"])
@pytest.mark.essential
def test_first_of_the_day_fails_and_the_rest_are_quiet(
    run_by_schedule: RunBySchedule, signed_out: str, pipeline: Flow[..., Any]
) -> None:
    """Only the first scheduled run fails and so alerts; it alone goes on once somebody has signed in."""
    states = [run_by_schedule(pipeline, signed_out) for _ in range(3)]
    assert ["Failed", "Completed", "Completed"] == [state.name for state in states]
    assert [True, True, True] == ["Next: sign in " in state.message for state in states]
    assert 1 == len(let_go_on(signed_out))
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(states[0].state_details.flow_run_id)
    assert "AwaitingRetry" == run.state.name


def test_run_with_a_session_ends_the_quiet(
    run_by_schedule: RunBySchedule, signed_out: str, credentials: ETradeCredentials
) -> None:
    """If a new session begins after the alert and ends too, the next run alerts again."""
    states = [run_by_schedule(quotes, signed_out)]
    for token in (credentials, without_token(credentials)):
        store(signed_out, token)
        forget_sessions()
        states += [run_by_schedule(quotes, signed_out) for _ in range(2)]
    assert ["Completed", "Completed"] == [state.name for state in states[1:3]]
    assert [True, False, False, True, False] == [state.is_failed() for state in states]


def test_each_schedule_alerts_for_itself(run_by_schedule: RunBySchedule, signed_out: str) -> None:
    """A deployment that runs with several sets of parameters alerts once for each."""
    states = [run_by_schedule(quotes, signed_out, hours=hours) for hours in (0, 1, 0)]
    assert [True, True, False] == [state.is_failed() for state in states]


def test_a_person_who_starts_it_is_told(run_by_schedule: RunBySchedule, signed_out: str) -> None:
    """A run that no schedule started raises, even if a scheduled run has alerted today."""
    run_by_schedule(quotes, signed_out)
    with pytest.raises(SignInRequired):
        quotes(signed_out)


def test_as_a_subflow_it_raises(run_by_schedule: RunBySchedule, signed_out: str) -> None:
    """As a subflow it raises, so the flow that called it learns that there is no session."""

    @flow
    def parent(credentials: str) -> None:
        quotes(credentials)

    states = [run_by_schedule(parent, signed_out) for _ in range(2)]
    assert [True, True] == ["SignInRequired: Nobody is signed in" in state.message for state in states]


def test_session_that_is_only_too_short_always_fails(run_by_schedule: RunBySchedule, block: str) -> None:
    """While somebody is signed in, every run that finds the session too short fails."""
    states = [run_by_schedule(quotes, block, hours=30) for _ in range(2)]
    assert [True, True] == [state.is_failed() for state in states]
    assert all("exception: SessionTooShort: " in state.message for state in states)


def at(hour: int) -> datetime:
    """This full hour of an Eastern day; a negative hour is on the day before."""
    return datetime(2027, 6, 15, tzinfo=EASTERN) + timedelta(hours=hour)


@pytest.mark.parametrize(
    ("alerted_at", "well_at", "due"),
    [
        pytest.param(None, (None, None), True, id="first of the day"),
        pytest.param(at(9), (None, None), False, id="alerted already"),
        pytest.param(at(9), (at(8), None), False, id="signed in before the alert"),
        pytest.param(at(9), (at(10), None), True, id="signed in after the alert"),
        pytest.param(at(9), (None, at(10)), True, id="renewed after the alert"),
        pytest.param(at(-1), (None, None), True, id="alerted yesterday"),
    ],
)
def test_one_alert_for_each_session_that_ended(
    alerted_at: datetime | None, well_at: tuple[datetime | None, ...], due: bool
) -> None:
    """A run alerts unless one already has today and since the last sign-in or renewal."""
    assert due == alert_is_due(at(12), alerted_at=alerted_at, well_at=well_at)
