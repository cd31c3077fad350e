"""The forms in which the simulator refuses a call."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from etrade_simulator import Simulator
from etrade_simulator.answers import PROBLEM_FORMS

Call = Callable[..., requests.Response]

# The text in which a reader finds the problem, for each form.
EXPECTED = {
    "as-seen": ("text/plain", "oauth_problem=timestamp_refused,oauth_acceptable_timestamps="),
    "text": ("text/plain", "oauth_problem=timestamp_refused,oauth_acceptable_timestamps="),
    "form": ("text/plain", "oauth_problem=timestamp_refused&oauth_acceptable_timestamps="),
    "html": ("text/html", "oauth_problem=timestamp_refused,oauth_acceptable_timestamps="),
    "tomcat": ("text/html", "<b>Message</b> oauth_problem=timestamp_refused,oauth_acceptable_timestamps="),
    "old-tomcat": ("text/html", "<h1>HTTP Status 401 - oauth_problem=timestamp_refused,"),
    "header": ("text/html", 'OAuth realm="", oauth_problem="timestamp_refused", oauth_acceptable_'),
    "json": ("application/json", '{"Error": {"message": "oauth_problem=timestamp_refused,'),
    "xml": ("application/xml", "<Error><message>oauth_problem=timestamp_refused,"),
}


@pytest.mark.parametrize("form", PROBLEM_FORMS)
def test_a_form_is_used_when_set(simulator: Simulator, list_accounts: Call, form: str) -> None:
    """Each form brings the same problem in its own content type and wording, in the body or in the header."""
    simulator.problem_form = form
    answer = list_accounts(simulator.sign_in("live"), timestamp="1")
    content_type, excerpt = EXPECTED[form]
    assert (401, content_type) == (answer.status_code, answer.headers["Content-Type"].partition(";")[0])
    assert excerpt in (answer.text or answer.headers["WWW-Authenticate"])


LIST = "/v1/accounts/list"
ERROR = '{"Error": {"message": "oauth_problem=token_rejected"}}'


@pytest.mark.parametrize(
    ("path", "wrong", "kind", "excerpt"),
    [
        (
            "/oauth/renew_access_token",
            "token",
            "text/html",
            "<h1>HTTP Status 401 - oauth_problem=token_rejected<",
        ),
        (f"{LIST}.json", "token", "application/json", ERROR),
        (LIST, "token", "application/xml", "<Error><message>oauth_problem=token_rejected</message></Error>"),
        (
            f"{LIST}.json",
            "consumer_key",
            "text/html",
            "<b>Message</b> oauth_problem=consumer_key_rejected</p>",
        ),
        (LIST, "consumer_key", "text/html", "<b>Message</b> oauth_problem=consumer_key_rejected</p>"),
        (f"{LIST}.json", "token_secret", "text/html", "oauth_problem=signature_invalid"),
        (f"{LIST}.json", "consumer_secret", "text/html", "oauth_problem=signature_invalid"),
    ],
)
def test_by_default_a_refusal_has_the_form_seen_at_etrade(
    *, simulator: Simulator, sign: Call, path: str, wrong: str, kind: str, excerpt: str
) -> None:
    """A data call about a bad token is refused in its own format, and all else in a form of its problem."""
    answer = sign(replace(simulator.sign_in("live"), **{wrong: "fake"}), simulator.url + path)
    assert (401, f"{kind};charset=utf-8") == (answer.status_code, answer.headers["Content-Type"])
    assert excerpt in answer.text
