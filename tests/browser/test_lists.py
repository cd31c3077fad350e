"""What an operator sees in Prefect's lists of runs, in both of its UIs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from playwright.sync_api import Locator, Page, expect
from prefect.client.orchestration import SyncPrefectClient
from prefect.flow_engine import run_flow

from etrade_flows import renew_access_token

NAME = "listed"
RENEWED, REUSED, REFUSED = (
    re.compile(rf"^renew {NAME}: {what}$")
    for what in (r"renewed until [\d:midngt]+", r"reused until [\d:midngt]+", "sign-in required")
)


class Hourly(NamedTuple):
    """The ids of a deployment whose runs ended in three different ways, and of its flow."""

    deployment: UUID
    flow: UUID


@pytest.fixture(scope="module")
def hourly(stage: Any) -> Hourly:
    """A deployment with three runs: one renewed, one reused that renewal, one found nobody signed in."""

    def deploy(client: SyncPrefectClient) -> Hourly:
        flow = client.create_flow(renew_access_token)
        return Hourly(client.create_deployment(flow, name="listed", parameters={"credentials": NAME}), flow)

    made: Hourly = stage.ask(deploy)
    yesterday = datetime.now(UTC) - timedelta(days=2)
    for issued_at in (None, None, yesterday):
        if issued_at or not stage.etrade.calls("/oauth/renew_access_token"):
            stage.save(NAME, stage.credentials(issued_at=issued_at))
        run = stage.ask(
            lambda client: client.create_flow_run_from_deployment(
                made.deployment, parameters={"credentials": NAME}
            )
        )
        stage.act(run_flow, renew_access_token, flow_run=run, parameters=run.parameters, return_type="state")
    return made


def links(page: Page, name: re.Pattern[str]) -> Locator:
    """The links to the runs whose name matches."""
    return page.get_by_role("link", name=name)


@pytest.mark.parametrize("ui", ["", "/v2"], ids=["V1", "V2"])
@pytest.mark.parametrize("of", ["deployments/deployment", "flows/flow"])
def test_every_ended_run_is_listed(stage: Any, hourly: Hourly, page: Page, ui: str, of: str) -> None:
    """The pages of a deployment and of a flow list every run, and its name says how it ended."""
    page.goto(f"{stage.url}{ui}/{of}/{hourly.deployment if 'deployment' in of else hourly.flow}")
    for name in (RENEWED, REUSED, REFUSED):
        expect(links(page, name)).to_have_count(1)


@pytest.mark.parametrize("ui", ["", "/v2"], ids=["V1", "V2"])
@pytest.mark.parametrize("state", ["Completed", "Failed"])
def test_runs_are_found_by_their_state(stage: Any, hourly: Hourly, page: Page, ui: str, state: str) -> None:
    """The page of all runs, filtered by state, lists only the runs that ended in that state."""
    page.goto(f"{stage.url}{ui}/runs?state={state}")
    failed = state == "Failed"
    expect(links(page, REFUSED)).to_have_count(1 if failed else 0)
    for name in (RENEWED, REUSED):
        expect(links(page, name)).to_have_count(0 if failed else 1)
