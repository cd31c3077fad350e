"""How many requests to Prefect's API a renewal makes beyond those of an empty flow.

The tests count requests and measure no time, which would depend on the machine and the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from prefect import flow, task

from etrade_flows import renew_access_token
from etrade_simulator import Simulator
from etrade_tasks import TokenSession

pytestmark = pytest.mark.usefixtures("quick_flows")

OF_PREFECT_ALONE = re.compile(r"/api/(csrf-token|admin/version|logs/|flows/[0-9a-f-]{36})$")
"""Requests that Prefect's clients, logs and events send now and then, whatever runs."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[str]]:
    """Lists the requests that an action makes to Prefect's API, without those that got a 5xx."""
    made: list[str] = []

    def note(response: httpx.Response) -> None:
        path = response.url.path
        if path.startswith("/api/") and response.status_code < 500 and not OF_PREFECT_ALONE.match(path):
            made.append(f"{response.request.method} {path}")

    send, send_async = httpx.Client.send, httpx.AsyncClient.send

    def sent(client: httpx.Client, request: httpx.Request, **options: object) -> httpx.Response:
        response = send(client, request, **options)
        note(response)
        return response

    async def sent_async(
        client: httpx.AsyncClient, request: httpx.Request, **options: object
    ) -> httpx.Response:
        response = await send_async(client, request, **options)
        note(response)
        return response

    monkeypatch.setattr(httpx.Client, "send", sent)
    monkeypatch.setattr(httpx.AsyncClient, "send", sent_async)

    def count(action: Callable[[], object]) -> list[str]:
        made.clear()
        action()
        return list(made)

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
    simulator: Simulator, block: str, counted: Callable[..., list[str]]
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
    simulator: Simulator, block: str, counted: Callable[..., list[str]]
) -> None:
    """A renewal adds seven at most: it also sets its name early, and reads and writes both reports."""

    @flow
    def pipeline() -> tuple[list[str], list[str]]:
        return counted(lambda: renew_access_token(block)), counted(five_empty_tasks)

    ours, others = pipeline()
    assert len(ours) <= len(others) + 7, (ours, others)
