"""A person signs in on a phone: Prefect's run page, E*TRADE's page, Prefect's form."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from prefect.client.schemas.filters import FlowRunFilter

from etrade_flows import renew_access_token
from etrade_flows.person.login import stored_credentials
from etrade_flows.sign_in import artifact_key
from etrade_tasks import ETradeCredentials

PHONE = {"width": 390, "height": 844}
COMMAND = "import sys; from etrade_flows.sign_in import sign_in; sign_in(sys.argv[1])"
PAUSED = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}})


@pytest.fixture(scope="module")
def before(stage: Any) -> ETradeCredentials:
    """The credentials in the block `phone`, before the sign-in replaces their token."""
    return stage.save("phone", stage.credentials())


@pytest.fixture(scope="module")
def waiting(
    stage: Any,
    before: ETradeCredentials,
    tmp_path_factory: pytest.TempPathFactory,
    wait_until: Callable[..., None],
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a sign-in that waits for a person."""
    variables = os.environ | {"PREFECT_API_URL": f"{stage.url}/api", "PREFECT_UI_URL": f"{stage.url}/v2"}
    folder = tmp_path_factory.mktemp("waiting")
    process = subprocess.Popen([sys.executable, "-c", COMMAND, "phone"], cwd=folder, env=variables)
    try:
        wait_until(lambda: stage.ask(lambda c: c.read_flow_runs(flow_run_filter=PAUSED)), seconds=90)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def form(stage: Any, waiting: subprocess.Popen[bytes], page: Page) -> Locator:
    """The form that Resume opens, reached from the artifact."""
    page.set_viewport_size(PHONE)
    page.goto(f"{stage.url}/v2/artifacts/key/{artifact_key('phone')}")
    page.get_by_role("link", name="sign in phone").click()
    return resume(page)


def resume(page: Page) -> Locator:
    """Open the form on the run's page."""
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    return page.get_by_role("dialog", name="Resume Flow Run")


def test_form_is_one_field_with_a_sentence_of_help(form: Locator) -> None:
    """The form asks only for the verifier, and says where it comes from and until when it is valid."""
    expect(form.get_by_role("textbox")).to_have_count(1)
    expect(form.get_by_text("The five characters that E*TRADE shows after you accept.")).to_be_visible()
    expect(form.get_by_text("US Eastern")).to_be_visible()


def test_refused_verifier_is_reported_in_the_next_form(
    stage: Any, form: Locator, page: Page, wait_until: Callable[..., None]
) -> None:
    """The verifier is readable while it is typed, and after a wrong one the next form offers a new link."""
    typed = form.get_by_role("textbox", name="Verifier")
    typed.fill("WRONG")
    expect(typed).to_have_value("WRONG")  # a masked field does not have this role
    form.get_by_role("button", name="Resume").click()
    wait_until(lambda: stage.etrade.calls("/oauth/access_token"), seconds=60)
    wait_until(lambda: stage.ask(lambda c: c.read_flow_runs(flow_run_filter=PAUSED)), seconds=60)
    page.reload()
    again = resume(page)
    expect(again.get_by_text("Here is a new link.")).to_be_visible()
    expect(again.get_by_role("link", name="Log in to E*TRADE")).to_be_visible()


def test_sign_in_from_a_phone(
    stage: Any, before: ETradeCredentials, waiting: subprocess.Popen[bytes], form: Locator, page: Page
) -> None:
    """A person signs in from the artifact through E*TRADE's page and Prefect's form, and the token renews."""
    run_page = page.url
    form.get_by_role("link", name="Log in to E*TRADE").click()
    page.get_by_role("button", name="Accept").click()
    verifier = page.locator("#verifier").inner_text()
    page.goto(run_page)
    again = resume(page)
    again.get_by_role("textbox", name="Verifier").fill(verifier)
    again.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Completed", exact=True)).to_be_visible()
    assert 0 == waiting.wait(timeout=60)
    assert before.fingerprint != stage.act(stored_credentials, "phone").fingerprint
    page.goto(stage.page_of(stage.run(renew_access_token, credentials="phone", force=True)))
    expect(page.get_by_text("Completed", exact=True)).to_be_visible()
