"""The pages a person sees while signing in."""

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
import requests

from etrade_simulator import Simulator

Call = Callable[..., requests.Response]


@pytest.fixture
def request_token(simulator: Simulator, sign: Call) -> str:
    """A fresh request token of the live consumer."""
    answer = sign(simulator.consumer("live"), simulator.oauth_url + "/request_token", callback_uri="oob")
    return parse_qs(answer.text)["oauth_token"][0]


@pytest.fixture
def address(simulator: Simulator, request_token: str) -> str:
    """The address of the page that asks for consent."""
    return simulator.authorize_url(simulator.consumer("live").key, request_token)


def visit(address: str, **fields: str) -> requests.Response:
    """Open the page, or press one of its buttons."""
    method = "POST" if fields else "GET"
    with requests.request(method, address, data=fields, timeout=5) as page:
        return page


def text_of(page: requests.Response, element: str) -> str:
    """The text of the element with this id."""
    found = re.search(rf'id="{element}"[^>]*>([^<]*)<', page.text)
    return found[1] if found else f"no {element}"


def test_the_page_asks_for_consent(address: str) -> None:
    """It names the application and the environment and has both buttons."""
    page = visit(address)
    shown = [text_of(page, element) for element in ("application", "environment", "accept", "decline")]
    assert (200, ["the sample application", "live", "Accept", "Decline"]) == (page.status_code, shown)


@pytest.mark.parametrize("fields", [{}, {"decision": "accept"}, {"decision": "decline"}])
def test_every_page_is_harmless_and_says_what_it_is(address: str, fields: dict[str, str]) -> None:
    """A page says that it is a simulator's, contains no address or script, and is not stored."""
    page = visit(address, **fields)
    assert "This is a simulator on your own machine." in page.text
    assert [] == re.findall(r"(?:src|href)=|url\(|<script", page.text)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "no-store" == page.headers["Cache-Control"]


def test_accepting_shows_a_verifier_that_works(
    simulator: Simulator, sign: Call, address: str, request_token: str
) -> None:
    """The page shows the five characters that the exchange asks for."""
    verifier = text_of(visit(address, decision="accept"), "verifier")
    assert simulator.approve(request_token) == verifier
    assert re.fullmatch("[A-Z0-9]{5}", verifier)


def test_a_browsers_form_needs_no_query(simulator: Simulator, request_token: str) -> None:
    """Key and token may be in the form instead of the query."""
    bare = simulator.url + "/e/t/etws/authorize"
    key = simulator.consumer("live").key
    page = visit(bare, key=key, token=request_token, decision="accept")
    assert 5 == len(text_of(page, "verifier"))


def test_an_unencoded_token_in_the_address_is_understood(simulator: Simulator, request_token: str) -> None:
    """If a client does not encode the token's plus signs, they arrive as blanks, and the page still opens."""
    key = simulator.consumer("live").key
    page = visit(f"{simulator.url}/e/t/etws/authorize?key={key}&token={request_token}")
    assert "Accept" == text_of(page, "accept")


def test_declining_ends_the_sign_in(address: str) -> None:
    """After a person declines, the page says so, and accepting is too late."""
    declined = visit(address, decision="decline")
    again = visit(address, decision="accept")
    assert ("Access declined", 200) == (text_of(declined, "declined"), declined.status_code)
    assert ("permission_denied", 400) == (text_of(again, "problem"), again.status_code)


@pytest.mark.parametrize(
    ("changes", "minutes", "problem"),
    [
        ({}, 5, "token_expired"),
        ({"request_token": "<b>unknown</b>"}, 0, "token_rejected"),
        ({"consumer_key": "<b>unknown</b>"}, 0, "consumer_key_rejected"),
        ({"consumer_key": "", "request_token": ""}, 0, "consumer_key_rejected"),
    ],
)
def test_a_wrong_link_says_what_is_wrong(
    *, simulator: Simulator, request_token: str, changes: dict[str, str], minutes: int, problem: str
) -> None:
    """An old link, an unknown key and an unknown token give different problems, and none copies markup."""
    right = {"consumer_key": simulator.consumer("live").key, "request_token": request_token}
    simulator.advance(timedelta(minutes=minutes))
    page = visit(simulator.authorize_url(**right | changes))
    assert (400, problem) == (page.status_code, text_of(page, "problem"))
    assert "<b>" not in page.text


def test_visits_are_not_in_the_list_of_signed_calls(simulator: Simulator, address: str) -> None:
    """Visits to pages are not in the list of signed calls."""
    visit(address)
    assert ["/oauth/request_token"] == [call.path for call in simulator.calls()]
