"""The form in which a person starts a renewal by hand."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.callables import parameter_schema

from etrade_flows import renew_access_token
from etrade_flows.cli.serving import package_deployments

PARAMETERS = parameter_schema(renew_access_token).properties
CREDENTIALS, FORCE, REQUIRED_FOR = (parameter["title"] for parameter in PARAMETERS.values())
IS_FILLED_IN = "field => field.value === 'second-account'"
SUBMISSIONS = 3
"""How often a form is submitted at most: a busy server with SQLite may refuse it."""


@pytest.fixture(scope="module")
def deployment(stage: Any) -> str:
    """The address of the deployment `on-demand`, registered from `prefect.yaml`."""
    _, on_demand, *_ = package_deployments()
    return f"{stage.url}/v2/deployments/deployment/{stage.act(on_demand.apply)}"


@pytest.fixture
def form(deployment: str, page: Page) -> Page:
    """The run form, filled in by the deployment."""
    page.goto(f"{deployment}/run")
    expect(page.get_by_role("textbox", name=CREDENTIALS)).to_be_visible()
    return page


def test_form_explains_and_fills_in_each_parameter(form: Page) -> None:
    """Each parameter has a readable title, its description from the flow's docstring, and its value."""
    for name, parameter in PARAMETERS.items():
        assert name != parameter["title"]
        words = " ".join(parameter["description"].split())
        expect(form.get_by_text(words, exact=True)).to_be_visible()
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
    for _ in range(SUBMISSIONS):
        with form.expect_response(re.compile("/create_flow_run$")) as answer:
            form.get_by_role("button", name="Submit").click()
        if answer.value.ok:
            break
    expect(form.get_by_text("by hand scheduled to start now")).to_be_visible()
    by_hand = FlowRunFilter.model_validate({"name": {"any_": ["by hand"]}})
    runs: list[FlowRun] = stage.ask(lambda client: client.read_flow_runs(flow_run_filter=by_hand))
    wanted = {"credentials": "second-account", "force": True, "required_for": "PT2H"}
    assert [wanted] == [run.parameters for run in runs]
