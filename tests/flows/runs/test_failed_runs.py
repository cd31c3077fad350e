"""A failed flow run always leaves a report and an event, whatever ended it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from prefect import Flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.events.schemas.events import ReceivedEvent
from prefect.exceptions import Abort, CancelledRun, ObjectNotFound, PausedRun

from etrade_flows import renew_access_token, sign_in, sign_out
from etrade_simulator import Fault, Simulator
from etrade_tasks.errors import ConfigurationRefused

pytestmark = [pytest.mark.usefixtures("quick_flows", "quick_retries"), pytest.mark.events]

SECONDS = 30
"""How many seconds an event may take to become readable; the server stores events every few seconds."""

Broken = Callable[[BaseException], None]

each_flow = pytest.mark.parametrize(
    "flow", [sign_in, sign_out, renew_access_token], ids=["sign_in", "sign_out", "renew"]
)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> Broken:
    """Makes each flow's calls to E*TRADE raise this error."""

    def breaks(error: BaseException) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("etrade_tasks.oauth.authorization.perform", fail)
        monkeypatch.setattr("etrade_flows.access.renewal.renew_shared", fail)

    return breaks


def failing(block: str) -> list[ReceivedEvent]:
    """The events that say that these credentials fail."""
    wanted = EventFilter(
        event=EventNameFilter(name=["etrade.session.failing"]),
        any_resource=EventAnyResourceFilter(id=[f"etrade.session.{block}"]),
    )
    with get_client(sync_client=True) as client:
        return client.read_events(wanted, limit=50).events


def reported(block: str) -> str:
    """The report on these credentials; empty if there is none."""
    found = Artifact.get(f"etrade-session-{block}")
    return found.data if found else ""


@each_flow
def test_what_nobody_expected_is_told(
    flow: Flow[..., Any], broken: Broken, block: str, wait_until: Callable[..., None]
) -> None:
    """An unexpected error is raised unchanged, and report and event name its type without its text."""
    said = []
    for error in (RuntimeError("canary"), ObjectNotFound(Exception("canary"))):
        broken(error)
        with pytest.raises(type(error)) as raised:
            flow(block)
        assert error is raised.value
        said.append(f"An unexpected error ended the run ({type(error).__name__}).")
        assert said[-1] in reported(block)
    wait_until(lambda: len(failing(block)) == len(said), SECONDS)
    assert set(said) == {event.payload["message"] for event in failing(block)}
    assert "canary" not in f"{failing(block)} {reported(block)}"


@each_flow
def test_what_was_expected_is_told_too(
    flow: Flow[..., Any], simulator: Simulator, block: str, wait_until: Callable[..., None]
) -> None:
    """The event of one of our own errors has its message and advice, and the report says failing."""
    simulator.plant(Fault(status=401, body="oauth_problem=consumer_key_rejected"), times=9)
    with pytest.raises(ConfigurationRefused) as raised:
        flow(block)
    wait_until(lambda: len(failing(block)) == 1, SECONDS)
    payload = failing(block)[0].payload
    assert (raised.value.message, raised.value.advice) == (payload["message"], payload["advice"])
    assert "failing" in reported(block)


@each_flow
def test_what_is_no_failure_passes_untouched(flow: Flow[..., Any], broken: Broken, block: str) -> None:
    """A run that is cancelled, paused or aborted leaves no report of a failure."""
    for end in (CancelledRun("fake"), PausedRun("fake"), Abort("fake")):
        broken(end)
        with suppress(type(end)):  # Prefect decides how the run ends
            flow(block)
    assert "" == reported(block)
