"""Signing in over HTTP, by requests-oauthlib."""

from collections.abc import Callable
from urllib.parse import parse_qs, unquote

import pytest
import requests

from etrade_simulator import AccessToken, Consumer, Simulator

Sign = Callable[..., requests.Response]


def ask(simulator: Simulator, sign: Sign, consumer: Consumer, method: str = "GET") -> AccessToken:
    """Ask for a request token, as an `AccessToken` so that it can sign."""
    answer = sign(consumer, simulator.oauth_url + "/request_token", method, callback_uri="oob")
    return as_token(simulator, consumer, answer)


def exchange(
    simulator: Simulator, sign: Sign, request_token: AccessToken, verifier: str
) -> requests.Response:
    """Exchange a request token for an access token."""
    return sign(request_token, simulator.oauth_url + "/access_token", verifier=verifier)


def as_token(simulator: Simulator, consumer: Consumer, answer: requests.Response) -> AccessToken:
    """The token pair of an answer, as an `AccessToken`."""
    fields = {name: values[0] for name, values in parse_qs(answer.text, strict_parsing=True).items()}
    return AccessToken(
        consumer.environment,
        consumer.key,
        consumer.secret,
        fields["oauth_token"],
        fields["oauth_token_secret"],
        simulator.now(),
    )


@pytest.mark.parametrize(("environment", "method"), [("live", "GET"), ("sandbox", "POST")])
def test_the_whole_sign_in_gives_a_token_that_works(
    simulator: Simulator, sign: Sign, list_accounts: Sign, environment: str, method: str
) -> None:
    """Request token, consent and exchange end in a token that data calls accept."""
    consumer = simulator.consumer(environment)
    request_token = ask(simulator, sign, consumer, method)
    verifier = simulator.approve(request_token.token)
    answer = exchange(simulator, sign, request_token, verifier)
    assert 200 == list_accounts(as_token(simulator, consumer, answer)).status_code


def test_tokens_arrive_percent_encoded_and_need_one_decoding(simulator: Simulator, sign: Sign) -> None:
    """In the form body a token has no bare ``/``, ``+`` or ``=``; decoded once, it has all three."""
    answer = sign(simulator.consumer("live"), simulator.oauth_url + "/request_token", callback_uri="oob")
    assert ["true"] == parse_qs(answer.text)["oauth_callback_confirmed"]  # as OAuth 1.0a requires
    assert "application/x-www-form-urlencoded" == answer.headers["Content-Type"]
    raw = answer.text.split("&")[0].removeprefix("oauth_token=")
    assert set() == set("/+=") & set(raw)
    assert set("/+=") == set("/+=") & set(unquote(raw))


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        ("https://example.invalid/back", "oauth_problem=callback_rejected,oauth_acceptable_callback=oob"),
        (None, "oauth_problem=parameter_absent&oauth_parameters_absent=oauth_callback"),
    ],
)
def test_any_callback_but_oob_is_rejected(
    simulator: Simulator, sign: Sign, callback: str | None, expected: str
) -> None:
    """Another callback, or none, is refused with status 400, and the answer says what is accepted."""
    answer = sign(simulator.consumer("live"), simulator.oauth_url + "/request_token", callback_uri=callback)
    assert (400, expected) == (answer.status_code, answer.text)


def test_a_verifier_buys_one_token(simulator: Simulator, sign: Sign) -> None:
    """Before anybody accepts, with a mistyped verifier and after an exchange, another one is refused."""
    request_token = ask(simulator, sign, simulator.consumer("live"))
    early = exchange(simulator, sign, request_token, "ABC12")
    verifier = simulator.approve(request_token.token)
    wrong, right, second = (
        exchange(simulator, sign, request_token, entered) for entered in ("wrong", verifier, verifier)
    )
    refusals = [(answer.status_code, answer.text.partition("=")[2]) for answer in (early, wrong, second)]
    assert [(401, "permission_unknown"), (401, "verifier_invalid"), (401, "token_used")] == refusals
    assert 200 == right.status_code


def test_an_exchange_without_a_verifier_is_refused(simulator: Simulator, sign: Sign) -> None:
    """Without a verifier the answer names the missing parameter."""
    request_token = ask(simulator, sign, simulator.consumer("live"))
    answer = sign(request_token, simulator.oauth_url + "/access_token")
    assert "oauth_problem=parameter_absent&oauth_parameters_absent=oauth_verifier" == answer.text


def test_a_new_sign_in_leaves_the_older_token_working(simulator: Simulator, list_accounts: Sign) -> None:
    """Two tokens of one consumer key both work."""
    older, newer = simulator.sign_in("live"), simulator.sign_in("live")
    assert [200, 200] == [list_accounts(token).status_code for token in (older, newer)]


def test_a_request_token_is_no_access_token(simulator: Simulator, sign: Sign, renew: Sign) -> None:
    """A request token cannot be renewed, even an accepted one."""
    request_token = ask(simulator, sign, simulator.consumer("live"))
    simulator.approve(request_token.token)
    assert 401 == renew(request_token).status_code
