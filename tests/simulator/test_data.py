"""The sample accounts, balances, positions and quotes."""

from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
import requests

from etrade_simulator import AccessToken, Simulator
from etrade_simulator.answers import to_xml

Get = Callable[..., requests.Response]


@pytest.fixture
def token(simulator: Simulator) -> AccessToken:
    """A live token."""
    return simulator.sign_in("live")


@pytest.fixture
def get(simulator: Simulator, sign: Callable[..., requests.Response], token: AccessToken) -> Get:
    """Get a path of the live data calls."""
    return lambda path, **options: sign(token, simulator.api_url("live") + "/v1" + path, **options)


@pytest.fixture
def account_key(get: Get) -> str:
    """The ``accountIdKey`` of the first account."""
    return get("/accounts/list.json").json()["AccountListResponse"]["Accounts"]["Account"][0]["accountIdKey"]


def test_there_are_two_accounts(get: Get) -> None:
    """The list holds two active brokerage accounts with different keys."""
    accounts = get("/accounts/list.json").json()["AccountListResponse"]["Accounts"]["Account"]
    assert [("BROKERAGE", "ACTIVE")] * 2 == [
        (account["institutionType"], account["accountStatus"]) for account in accounts
    ]
    assert 2 == len({account["accountIdKey"] for account in accounts})


def test_a_path_without_json_is_answered_in_xml(get: Get) -> None:
    """Without .json in the path the answer is XML, unless a header asks for JSON."""
    assert "AccountListResponse" in get("/accounts/list", headers={"Accept": "application/json"}).json()
    answer = get("/accounts/list")
    root = ET.fromstring(answer.content)  # noqa: S314  # the simulator's own text
    assert ("AccountListResponse", 2) == (root.tag, len(root.findall("Accounts/Account")))
    assert "application/xml;charset=utf-8" == answer.headers["Content-Type"]


def test_the_numbers_agree_with_each_other(get: Get, account_key: str) -> None:
    """Positions are priced by quotes, and add up to the net market value, and with cash to the account's."""
    query = {"instType": "BROKERAGE", "realTimeNAV": "true"}
    balance = get(f"/accounts/{account_key}/balance.json", params=query).json()["BalanceResponse"]
    portfolio = get(f"/accounts/{account_key}/portfolio.json").json()["PortfolioResponse"]
    positions = portfolio["AccountPortfolio"][0]["Position"]
    values = balance["Computed"]["RealTimeValues"]
    assert values["netMv"] == round(sum(position["marketValue"] for position in positions), 2)
    assert values["totalAccountValue"] == round(values["netMv"] + balance["Computed"]["cashBalance"], 2)
    symbol = positions[0]["Product"]["symbol"]
    quote = get(f"/market/quote/{symbol}.json").json()["QuoteResponse"]["QuoteData"][0]
    assert quote["All"]["lastTrade"] == positions[0]["Quick"]["lastTrade"]


def test_a_balance_needs_the_institution_type(get: Get, account_key: str) -> None:
    """Without ``instType`` a balance is refused by number; real-time values come only if asked for."""
    answer = get(f"/accounts/{account_key}/balance.json")
    assert (400, 103) == (answer.status_code, answer.json()["Error"]["code"])
    balance = get(f"/accounts/{account_key}/balance.json", params={"instType": "BROKERAGE"}).json()
    assert "RealTimeValues" not in balance["BalanceResponse"]["Computed"]


@pytest.mark.parametrize("what", ["balance", "portfolio"])
def test_an_unknown_account_is_an_error(get: Get, what: str) -> None:
    """An unknown account key is refused with a numbered error, as XML."""
    answer = get(f"/accounts/nobody/{what}", params={"instType": "BROKERAGE"})
    root = ET.fromstring(answer.content)  # noqa: S314  # the simulator's own text
    assert (400, "102") == (answer.status_code, root.findtext("code"))


def test_a_quote_is_the_same_on_every_run(get: Get) -> None:
    """A price depends only on the letters, in any case; the time is Eastern as text, and UTC as a number."""
    quote = get("/market/quote/aapl.json").json()["QuoteResponse"]["QuoteData"][0]
    assert (469.44, 458.12) == (quote["All"]["lastTrade"], quote["All"]["previousClose"])
    assert ("10:00:00 EST 01-15-2025", 1736953200) == (quote["dateTime"], quote["dateTimeUTC"])


def test_what_is_no_symbol_is_named_in_a_message(get: Get) -> None:
    """The good symbols get quotes, a message names the bad one, and without any good one there is no more."""
    response = get("/market/quote/AAPL,A$PL.json").json()["QuoteResponse"]
    assert ["AAPL"] == [quote["Product"]["symbol"] for quote in response["QuoteData"]]
    assert "A$PL is an invalid symbol" == response["Messages"]["Message"][0]["description"]
    assert ["Messages"] == list(get("/market/quote/$.json").json()["QuoteResponse"])


def test_xml_says_what_json_says() -> None:
    """In XML, lists repeat their element, booleans are lower-case, and markup is escaped."""
    document = {"Root": {"Item": [1, 2.5], "flag": True, "Inner": {"text": "a < b & c"}}}
    expected = (
        "<Root><Item>1</Item><Item>2.5</Item><flag>true</flag>"
        "<Inner><text>a &lt; b &amp; c</text></Inner></Root>"
    )
    assert expected == to_xml(document).partition("\n")[2]


def test_no_more_than_twenty_five_symbols_are_quoted(get: Get) -> None:
    """Symbols beyond the twenty-fifth are left out."""
    symbols = ",".join(f"AB{chr(65 + number)}" for number in range(26))
    assert 25 == len(get(f"/market/quote/{symbols}.json").json()["QuoteResponse"]["QuoteData"])


@pytest.mark.parametrize("path", ["/accounts/list.json", "/market/quote/AAPL"])
def test_data_is_read_by_get_alone(get: Get, path: str) -> None:
    """Any method but GET at a data path is 405."""
    assert 405 == get(path, method="POST").status_code


@pytest.mark.parametrize(("action", "method"), [("preview", "POST"), ("place", "POST"), ("cancel", "PUT")])
def test_an_order_is_taken_and_recorded(simulator: Simulator, get: Get, action: str, method: str) -> None:
    """A signed order is answered with an order number, and the list of calls has its method."""
    answer = get(f"/accounts/any/orders/{action}.json", method=method)
    assert 1 == answer.json()[f"{action.capitalize()}OrderResponse"]["orderId"]
    assert [method] == [call.method for call in simulator.calls(f"/orders/{action}.json")]
