"""How many requests to Prefect's API a renewal makes beyond those of an empty flow.

The tests count requests and measure no time, which would depend on the machine and the server.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest
from prefect import flow, task

from etrade_flows import renew_access_token, renew_fleet
from etrade_flows.fleet import board
from etrade_simulator import Simulator
from etrade_tasks import TokenSession
from etrade_tasks.sharing import record

pytestmark = pytest.mark.usefixtures("quick_flows")

ANSWERED = re.compile(r'HTTP Request: (\w+ )http://[^/]+(/api/[^ ?]*)\S* "HTTP/\S+ [1-4]')
"""A line of httpx's log about a request to Prefect's API that did not get a 5xx."""

OF_PREFECT_ALONE = re.compile(r"/api/(csrf-token|admin/version|logs/|flows/[0-9a-f-]{36})$")
"""Requests that Prefect's clients, logs and events send now and then, whatever runs."""

Counted = Callable[[Callable[[], object]], list[str]]


@pytest.fixture
def counted(caplog: pytest.LogCaptureFixture) -> Counted:
    """Lists the requests that an action makes to Prefect's API."""
    caplog.set_level(logging.INFO, logger="httpx")

    def count(action: Callable[[], object]) -> list[str]:
        caplog.clear()
        action()
        answered = [found.groups() for found in map(ANSWERED.match, caplog.messages) if found]
        return [method + path for method, path in answered if not OF_PREFECT_ALONE.match(path)]

    return count


@flow
def empty() -> None:
    """What any subflow asks of the server."""


@task
def empty_task() -> None:
    """Does nothing."""


@task
def empty_tasks() -> None:
    """Tasks that are nested as those of a renewal are."""
    for _ in range(3):
        empty_task()


@flow
def five_empty_tasks() -> None:
    """As many tasks as a renewal has."""
    empty_task()
    empty_tasks()


@pytest.mark.essential
def test_reused_renewal_makes_two_requests_more_than_an_empty_flow(
    simulator: Simulator, block: str, counted: Counted
) -> None:
    """A reused renewal adds two requests: one reads the credentials, one sets its name and tags."""

    @flow
    def pipeline() -> tuple[TokenSession, list[str], list[str]]:
        renew_access_token(block)
        session: list[TokenSession] = []
        ours = counted(lambda: session.append(renew_access_token(block)))
        return session[0], ours, counted(empty)

    session, ours, others = pipeline()
    assert session.reused
    assert len(ours) <= len(others) + 2, (ours, others)


@pytest.mark.essential
def test_renewal_makes_seven_requests_more_than_five_empty_tasks(
    simulator: Simulator, block: str, counted: Counted
) -> None:
    """A renewal adds seven at most: it also sets its name early, and reads and writes both reports."""

    @flow
    def pipeline() -> tuple[list[str], list[str]]:
        return counted(lambda: renew_access_token(block)), counted(five_empty_tasks)

    ours, others = pipeline()
    assert len(ours) <= len(others) + 7, (ours, others)


def test_a_token_of_a_fleet_makes_one_request(
    simulator: Simulator, save: Callable[..., str], counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each token of a fleet adds one request to Prefect's API, which loads its block."""
    # However slow the machine is, the table is not updated meanwhile, and the storage is not looked up again.
    monkeypatch.setattr(board, "SECONDS", 600.0)
    monkeypatch.setattr(record, "_OPENED_FOR", 600.0)

    def cost(*names: str) -> int:
        tokens = [save(name) for name in names]
        return len(counted(lambda: renew_fleet(tokens, per_second=1_000.0, concurrency=1)))

    cost("first")  # which also asks where results are kept, and for the server's version
    assert 2 == cost("a", "b", "c") - cost("d")
