"""The forms in which the simulator refuses a call."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest
import requests

from etrade_simulator import Simulator
from etrade_simulator.answers import PROBLEM_FORMS

Call = Callable[..., requests.Response]

# The text in which a reader finds the problem, for each form.
EXPECTED = {
    "text": ("text/plain", "oauth_problem=timestamp_refused,oauth_acceptable_timestamps="),
    "form": ("text/plain", "oauth_problem=timestamp_refused&oauth_acceptable_timestamps="),
    "html": ("text/html", "oauth_problem=timestamp_refused,oauth_acceptable_timestamps="),
    "tomcat": ("text/html", "<b>Message</b> oauth_problem=timestamp_refused,oauth_acceptable_timestamps="),
    "old-tomcat": ("text/html", "<h1>HTTP Status 401 - oauth_problem=timestamp_refused,"),
    "json": ("application/json", '{"Error": {"message": "oauth_problem=timestamp_refused,'),
    "xml": ("application/xml", "<Error><message>oauth_problem=timestamp_refused,"),
}


@pytest.mark.parametrize("form", EXPECTED)
def test_a_form_is_used_when_set(simulator: Simulator, renew: Call, form: str) -> None:
    """Each form brings the same problem in its own content type and wording."""
    simulator.problem_form = form
    answer = renew(simulator.sign_in("live"), timestamp="1")
    content_type, excerpt = EXPECTED[form]
    assert (401, content_type) == (answer.status_code, answer.headers["Content-Type"].partition(";")[0])
    assert excerpt in answer.text


def test_the_problem_can_come_in_a_header_alone(simulator: Simulator, renew: Call) -> None:
    """In the header form the body is empty, and WWW-Authenticate holds everything."""
    simulator.problem_form = "header"
    answer = renew(simulator.sign_in("live"), timestamp="1")
    expected = (
        'OAuth realm="", oauth_problem="timestamp_refused", '
        'oauth_acceptable_timestamps="1736952900-1736953500"'
    )
    assert ("", expected) == (answer.text, answer.headers["WWW-Authenticate"])


def test_every_form_has_its_test() -> None:
    """The tests above cover every form."""
    assert {*EXPECTED, "header", "as-seen"} == set(PROBLEM_FORMS)


def test_by_default_a_rejected_token_is_an_older_tomcat_page(simulator: Simulator, renew: Call) -> None:
    """As seen at E*TRADE: an older Tomcat page with the problem as its heading."""
    token = simulator.sign_in("live")
    simulator.revoke(token)
    assert "<h1>HTTP Status 401 - oauth_problem=token_rejected</h1>" in renew(token).text


def test_a_data_call_for_json_is_refused_in_json(simulator: Simulator, list_accounts: Call) -> None:
    """As seen at E*TRADE: an Error object with nothing but the message."""
    answer = list_accounts(simulator.sign_in("live", issued_at=simulator.now() - timedelta(days=1)))
    expected = (401, {"Error": {"message": "oauth_problem=token_expired"}})
    assert expected == (answer.status_code, json.loads(answer.text))


def test_a_data_call_for_xml_is_refused_in_xml(simulator: Simulator, sign: Call) -> None:
    """Without .json the same refusal comes as XML."""
    token = simulator.sign_in("live", issued_at=simulator.now() - timedelta(days=1))
    answer = sign(token, simulator.api_url("live") + "/v1/accounts/list")
    message = ET.fromstring(answer.content).findtext("message")  # noqa: S314  # the simulator's own text
    assert "oauth_problem=token_expired" == message


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_a_data_call_with_a_rejected_key_gets_the_page(simulator: Simulator, sign: Call, suffix: str) -> None:
    """As seen at E*TRADE for any signed call: a refused key gets a Tomcat page, with .json or without."""
    url = f"{simulator.api_url('sandbox')}/v1/accounts/list{suffix}"
    answer = sign(simulator.sign_in("live"), url)
    assert "text/html;charset=utf-8" == answer.headers["Content-Type"]
    assert "<b>Message</b> oauth_problem=consumer_key_rejected</p>" in answer.text


def test_a_data_call_with_a_bad_signature_gets_html(simulator: Simulator, list_accounts: Call) -> None:
    """As seen at E*TRADE for any signed call: a mistyped secret gets the bare problem as HTML."""
    token = replace(simulator.sign_in("live"), token_secret="fake-other-secret")
    answer = list_accounts(token)
    expected = ("text/html;charset=utf-8", "oauth_problem=signature_invalid")
    assert expected == (answer.headers["Content-Type"], answer.text)


def test_a_data_call_with_a_stale_timestamp_gets_text(simulator: Simulator, list_accounts: Call) -> None:
    """As seen at E*TRADE for any signed call: a refused timestamp gets plain text."""
    answer = list_accounts(simulator.sign_in("live"), timestamp="1")
    assert "text/plain;charset=utf-8" == answer.headers["Content-Type"]
    assert answer.text.startswith("oauth_problem=timestamp_refused,oauth_acceptable_timestamps=")
