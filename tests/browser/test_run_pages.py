"""What an operator sees of a run: how it ended, its tasks, and the link from a pipeline to its renewal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, TaskRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import State

from etrade_flows import renew_access_token
from etrade_tasks import ETradeCredentials

TASKS = ("load-credentials", "renew-session", "sign-request", "call-renew", "classify-response")


@flow(name="nightly-positions", flow_run_name="nightly positions")
def nightly_positions(credentials: str) -> None:
    """Stands for any pipeline."""
    renew_access_token(credentials)


@pytest.fixture(scope="module")
def recorded(stage: Any, wait_until: Callable[..., None]) -> Callable[[FlowRun], FlowRun]:
    """Waits until the server has the logs and the task runs of a run, which reach it after the run's end."""

    def is_recorded(client: SyncPrefectClient, run: FlowRun) -> bool:
        log = client.read_logs(LogFilter.model_validate({"flow_run_id": {"any_": [run.id]}}))
        of_the_run = TaskRunFilter.model_validate({"flow_run_id": {"any_": [run.id]}})
        tasks = client.read_task_runs(task_run_filter=of_the_run)
        ended = tasks and all(task.state and task.state.is_final() for task in tasks)
        return bool(
            ended and any("Finished in state" in line.message and not line.task_run_id for line in log)
        )

    def wait(run: FlowRun) -> FlowRun:
        wait_until(lambda: stage.ask(lambda client: is_recorded(client, run)), seconds=60)
        return run

    return wait


@pytest.fixture(scope="module")
def renewal(stage: Any, recorded: Callable[..., FlowRun]) -> FlowRun:
    """A run that renewed the token of the block `main`."""
    stage.save("main", stage.credentials())
    return recorded(stage.run(renew_access_token, credentials="main"))


@pytest.fixture(scope="module")
def pipeline(stage: Any, signed_in: ETradeCredentials, recorded: Callable[..., FlowRun]) -> FlowRun:
    """A run of a pipeline that began with a renewal."""
    return recorded(stage.run(nightly_positions, credentials="etrade"))


@pytest.fixture(scope="module")
def failed_pipeline(stage: Any, signed_out: str, recorded: Callable[..., FlowRun]) -> FlowRun:
    """A run of a pipeline that began when nobody was signed in."""
    return recorded(stage.run(nightly_positions, credentials=signed_out))


def heading(page: Page) -> Locator:
    """The line with the run's name and its tags."""
    return page.get_by_role("navigation", name="breadcrumb").get_by_role("listitem").last


def tab(page: Page, name: str) -> Locator:
    """The panel of a tab on the run's page."""
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name)


def test_renewal_shows_how_it_ended_its_tags_and_its_tasks(stage: Any, renewal: FlowRun, page: Page) -> None:
    """A renewal's page says how it ended and how long that lasts, and shows its four tags and its tasks."""
    page.goto(stage.page_of(renewal))
    expect(page.get_by_text("Completed", exact=True)).to_be_visible()
    expect(heading(page)).to_contain_text("renew main: renewed until")
    # The heading shows three tags and counts the rest, which is the outcome.
    assert ["etrade", "live", "main", "+1"] == heading(page).inner_text().split()[-4:]
    # In the last two hours of a day a session is good until midnight.
    holds = r"idle from \d\d:\d\d, expires at 00:00|good until midnight"
    message = tab(page, "Details").get_by_text("Renewed in 1 call; ")
    expect(message).to_have_text(re.compile(rf"^Renewed in 1 call; ({holds}) US Eastern\.$"))
    links = tab(page, "Task Runs").get_by_role("link", name=re.compile(rf"^({'|'.join(TASKS)})-"))
    expect(links).to_have_count(len(TASKS))
    assert set(TASKS) == {name.rpartition("-")[0] for name in links.all_inner_texts()}


def test_pipeline_leads_to_its_renewal(stage: Any, pipeline: FlowRun, page: Page) -> None:
    """One click in a pipeline's list of subflow runs opens the renewal, which links back to the pipeline."""
    page.goto(stage.page_of(pipeline))
    tab(page, "Subflow Runs").get_by_role("link", name=re.compile("^renew etrade: ")).click()
    expect(heading(page)).to_contain_text("renew etrade")
    # On a slow machine the previous page's list is still visible beside it.
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    parent = page.get_by_role("link", name="nightly positions")
    expect(parent).to_have_attribute("href", re.compile(f"/runs/flow-run/{pipeline.id}$"))


def test_failed_pipeline_says_what_to_do(stage: Any, failed_pipeline: FlowRun, page: Page) -> None:
    """A pipeline that fails because nobody is signed in says in its own log what a person must do."""
    page.goto(stage.page_of(failed_pipeline))
    expect(page.get_by_text("Failed", exact=True)).to_be_visible()
    line = tab(page, "Logs").get_by_role("listitem").filter(has_text="Encountered exception")
    expect(line).to_contain_text("The E*TRADE session of 'yesterday' ended at")
    expect(line).to_contain_text("Next: sign in ")


def test_scheduled_run_without_a_sign_in_says_so(
    stage: Any, signed_out: str, run_by_schedule: Callable[..., State[Any]], page: Page
) -> None:
    """A scheduled run that finds nobody signed in fails, has a tag for the outcome, and says what to do."""
    state = stage.act(run_by_schedule, renew_access_token, signed_out)
    page.goto(stage.page_of(stage.run_of(state)))
    expect(page.get_by_text("Failed", exact=True)).to_be_visible()
    expect(heading(page)).to_contain_text("outcome:sign-in-required")
    message = tab(page, "Details").get_by_text("The E*TRADE session of 'yesterday' ended at")
    expect(message).to_contain_text("Next: sign in ")
