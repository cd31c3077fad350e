"""A person signs in on a phone: Prefect's run page, E*TRADE's page, Prefect's form."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from etrade_flows import renew_access_token
from etrade_flows.person.login import stored_credentials
from etrade_flows.sign_in import artifact_key
from etrade_tasks import ETradeCredentials

PHONE = {"width": 390, "height": 844}
COMMAND = "import sys; from etrade_flows.sign_in import sign_in; sign_in(sys.argv[1])"
PAUSED = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}


@pytest.fixture
def waits(stage: Any, wait_until: Callable[..., None]) -> Callable[..., None]:
    """Waits until something has happened, and then until a run on the server waits for a person."""

    def wait(after: Callable[[], Any] = lambda: True) -> None:
        wait_until(lambda: bool(after()), seconds=60)
        wait_until(lambda: httpx.post(f"{stage.url}/api/flow_runs/count", json=PAUSED).json() > 0, seconds=90)

    return wait


@pytest.fixture
def before(stage: Any) -> ETradeCredentials:
    """The credentials in the block `phone`, before the sign-in replaces their token."""
    return stage.save("phone", stage.credentials())


@pytest.fixture
def waiting(
    stage: Any, before: ETradeCredentials, waits: Callable[..., None], tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a sign-in that waits for a person."""
    variables = os.environ | {"PREFECT_API_URL": f"{stage.url}/api", "PREFECT_UI_URL": f"{stage.url}/v2"}
    process = subprocess.Popen([sys.executable, "-c", COMMAND, "phone"], cwd=tmp_path, env=variables)
    try:
        waits()
        yield process
    finally:
        process.kill()
        process.wait()


def resume(page: Page) -> Locator:
    """Open the form on the run's page."""
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    return page.get_by_role("dialog", name="Resume Flow Run")


def enter(form: Locator, verifier: str) -> None:
    """Type in the verifier, which stays readable, and resume the run."""
    typed = form.get_by_role("textbox", name="Verifier")  # a masked field does not have this role
    typed.fill(verifier)
    expect(typed).to_have_value(verifier)
    form.get_by_role("button", name="Resume").click()


def test_sign_in_from_a_phone(
    stage: Any, before: ETradeCredentials, waiting: subprocess.Popen[bytes], waits: Any, page: Page
) -> None:
    """A person signs in by a form with one field, with a new link after a wrong verifier, and it renews."""
    page.set_viewport_size(PHONE)
    page.goto(f"{stage.url}/v2/artifacts/key/{artifact_key('phone')}")
    page.get_by_role("link", name="sign in phone").click()
    form = resume(page)
    expect(form.get_by_role("textbox")).to_have_count(1)
    expect(form.get_by_text("The five characters that E*TRADE shows after you accept.")).to_be_visible()
    expect(form.get_by_text("US Eastern")).to_be_visible()
    run_page = page.url

    enter(form, "WRONG")
    waits(after=lambda: stage.etrade.calls("/oauth/access_token"))
    page.reload()
    again = resume(page)
    expect(again.get_by_text("Here is a new link.")).to_be_visible()
    again.get_by_role("link", name="Log in to E*TRADE").click()
    page.get_by_role("button", name="Accept").click()
    verifier = page.locator("#verifier").inner_text()

    page.goto(run_page)
    enter(resume(page), verifier)
    assert 0 == waiting.wait(timeout=60)
    page.goto(run_page)
    expect(page.get_by_text("Completed", exact=True)).to_be_visible()
    assert before.fingerprint != stage.act(stored_credentials, "phone").fingerprint
    assert not stage.act(renew_access_token, "phone", force=True).reused
