"""What an operator sees in Prefect's lists of runs, in both of its UIs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.flow_engine import run_flow

from etrade_flows import renew_access_token

NAME, UNTIL = "listed", r"until (\d\d:\d\d|midnight)"
RENEWED, REUSED, REFUSED = (
    re.compile(rf"^renew {NAME}: {what}$")
    for what in (f"renewed {UNTIL}", f"reused {UNTIL}", "sign-in required")
)


@pytest.fixture(scope="module")
def hourly(stage: Any) -> UUID:
    """A deployment with three runs: one renewed, one reused that renewal, one found nobody signed in."""

    def deploy(client: SyncPrefectClient) -> UUID:
        return client.create_deployment(client.create_flow(renew_access_token), name="listed")

    def run() -> None:
        with get_client(sync_client=True) as client:
            due = client.create_flow_run_from_deployment(deployment, parameters={"credentials": NAME})
        run_flow(renew_access_token, flow_run=due, parameters=due.parameters, return_type="state")

    deployment: UUID = stage.ask(deploy)
    stage.save(NAME, stage.credentials())
    stage.act(run)
    stage.act(run)
    stage.save(NAME, stage.credentials(issued_at=datetime.now(UTC) - timedelta(days=2)))
    stage.act(run)
    return deployment


@pytest.mark.parametrize("ui", ["", "/v2"], ids=["V1", "V2"])
def test_every_ended_run_is_listed(stage: Any, hourly: UUID, page: Page, ui: str) -> None:
    """The page of a deployment lists every run, and its name says how it ended."""
    page.goto(f"{stage.url}{ui}/deployments/deployment/{hourly}")
    for name in (RENEWED, REUSED, REFUSED):
        expect(page.get_by_role("link", name=name)).to_have_count(1)


@pytest.mark.usefixtures("hourly")
@pytest.mark.parametrize("ui", ["", "/v2"], ids=["V1", "V2"])
def test_runs_are_found_by_their_state(stage: Any, page: Page, ui: str) -> None:
    """The page of all runs, filtered by state, lists only the runs that ended in that state."""
    completed, failed = [RENEWED, REUSED], [REFUSED]
    for state, shown, hidden in (("Completed", completed, failed), ("Failed", failed, completed)):
        page.goto(f"{stage.url}{ui}/runs?state={state}")
        for name in shown:
            expect(page.get_by_role("link", name=name)).to_have_count(1)
        for name in hidden:
            expect(page.get_by_role("link", name=name)).to_have_count(0)
