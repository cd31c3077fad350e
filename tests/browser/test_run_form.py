"""The form in which a person starts a renewal by hand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.callables import parameter_schema

from etrade_flows import renew_access_token

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENT = "renew-access-token/on-demand"
PARAMETERS = parameter_schema(renew_access_token).properties
CREDENTIALS, FORCE, REQUIRED_FOR = (parameter["title"] for parameter in PARAMETERS.values())
IS_FILLED_IN = "field => field.value === 'second-account'"
SUBMISSIONS = 3
"""How often a form is submitted at most: a busy server with SQLite may refuse it."""


@pytest.fixture(scope="module")
def deployment(stage: Any) -> str:
    """The address of the deployment `on-demand`, deployed from `prefect.yaml`."""
    variables = os.environ | {"PREFECT_API_URL": f"{stage.url}/api"}
    for arguments in (
        ("work-pool", "create", "etrade", "--type", "process"),
        ("--no-prompt", "deploy", "--name", DEPLOYMENT),
    ):
        command = [sys.executable, "-m", "prefect", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stdout + done.stderr
    found = stage.ask(lambda client: client.read_deployment_by_name(DEPLOYMENT))
    return f"{stage.url}/v2/deployments/deployment/{found.id}"


@pytest.fixture
def form(deployment: str, page: Page) -> Page:
    """The run form, filled in by the deployment."""
    page.goto(f"{deployment}/run")
    expect(page.get_by_role("textbox", name=CREDENTIALS)).to_be_visible()
    return page


def test_form_explains_each_parameter(form: Page) -> None:
    """Each parameter has a readable title and its description from the flow's docstring."""
    for name, parameter in PARAMETERS.items():
        assert name != parameter["title"]
        words = " ".join(parameter["description"].split())
        expect(form.get_by_text(words, exact=True)).to_be_visible()


def test_form_shows_what_a_run_will_use(form: Page) -> None:
    """The form is filled in with the deployment's parameters."""
    expect(form.get_by_role("textbox", name=CREDENTIALS)).to_have_value("etrade")
    expect(form.get_by_role("switch", name=f"{FORCE} (Optional)")).not_to_be_checked()
    expect(form.get_by_role("textbox", name=REQUIRED_FOR)).to_have_value("PT0S")


@pytest.mark.parametrize("ui", ["", "/v2"], ids=["V1", "V2"])
def test_link_of_an_alert_fills_in_the_account(deployment: str, page: Page, ui: str) -> None:
    """A link with parameters, as in an alert, opens the form with them filled in."""
    given = quote(json.dumps({"credentials": "second-account"}, separators=(",", ":")), safe="")
    page.goto(f"{deployment.replace('/v2', ui)}/run?parameters={given}")
    page.wait_for_function(f"[...document.querySelectorAll('input, textarea')].some({IS_FILLED_IN})")


def test_submitted_form_is_the_run(stage: Any, form: Page) -> None:
    """Submitting the form creates one run, with exactly the parameters that were typed in."""
    form.get_by_role("textbox", name="Run Name").fill("by hand")
    form.get_by_role("textbox", name=CREDENTIALS).fill("second-account")
    form.get_by_role("switch", name=f"{FORCE} (Optional)").click()
    form.get_by_role("textbox", name=REQUIRED_FOR).fill("PT2H")
    submit(form)
    expect(form.get_by_text("by hand scheduled to start now")).to_be_visible()
    by_hand = FlowRunFilter.model_validate({"name": {"any_": ["by hand"]}})
    runs: list[FlowRun] = stage.ask(lambda client: client.read_flow_runs(flow_run_filter=by_hand))
    wanted = {"credentials": "second-account", "force": True, "required_for": "PT2H"}
    assert [wanted] == [run.parameters for run in runs]


def submit(form: Page) -> None:
    """Submit the form, and submit it again if the server was too busy."""
    for _ in range(SUBMISSIONS):
        with form.expect_response(re.compile("/create_flow_run$")) as answer:
            form.get_by_role("button", name="Submit").click()
        if answer.value.ok:
            break
