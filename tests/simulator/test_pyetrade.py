"""pyetrade, an independent E*TRADE client, works with only its addresses changed."""

from collections.abc import Iterator

import pyetrade
import pytest
import requests

from etrade_simulator import AccessToken, Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator in real time, since pyetrade signs by the machine's clock."""
    with Simulator() as simulator:
        yield simulator


def pair_of(token: AccessToken) -> tuple[str, str, str, str]:
    """The four credentials in pyetrade's order."""
    return token.consumer_key, token.consumer_secret, token.token, token.token_secret


def test_pyetrade_signs_in(simulator: Simulator) -> None:
    """A sign-in with pyetrade ends in a token that its manager can renew and revoke, and then no more."""
    consumer = simulator.consumer("live")
    oauth = pyetrade.ETradeOAuth(consumer.key, consumer.secret)
    oauth.req_token_url = simulator.oauth_url + "/request_token"
    oauth.auth_token_url = simulator.url + "/e/t/etws/authorize"
    oauth.access_token_url = simulator.oauth_url + "/access_token"
    link = oauth.get_request_token()
    with requests.get(link, timeout=5) as page:
        assert 200 == page.status_code
    tokens = oauth.get_access_token(simulator.approve(oauth.resource_owner_key))
    oauth.session.close()
    manager = pyetrade.ETradeAccessManager(
        consumer.key, consumer.secret, tokens["oauth_token"], tokens["oauth_token_secret"]
    )
    manager.renew_access_token_url = simulator.oauth_url + "/renew_access_token"
    manager.revoke_access_token_url = simulator.oauth_url + "/revoke_access_token"
    with manager.session:
        assert (True, True) == (manager.renew_access_token(), manager.revoke_access_token())
        with pytest.raises(requests.HTTPError, match="401"):
            manager.renew_access_token()


@pytest.mark.parametrize(("environment", "form"), [("live", "json"), ("sandbox", "xml")])
def test_pyetrade_reads_accounts(simulator: Simulator, environment: str, form: str) -> None:
    """List, balance and portfolio can be read in both formats, and agree on the account."""
    accounts = pyetrade.ETradeAccounts(*pair_of(simulator.sign_in(environment)))
    accounts.base_url = simulator.api_url(environment) + "/v1/accounts"
    with accounts.session:
        listed = accounts.list_accounts(resp_format=form)["AccountListResponse"]["Accounts"]["Account"][1]
        key = listed["accountIdKey"]
        balance = accounts.get_account_balance(key, resp_format=form)["BalanceResponse"]
        portfolio = accounts.get_account_portfolio(key, resp_format=form)["PortfolioResponse"]
    # xmltodict turns a list of one element into that element; JSON keeps the list.
    entry = portfolio["AccountPortfolio"]
    entry = entry[0] if form == "json" else entry
    assert [listed["accountId"]] * 2 == [balance["accountId"], entry["accountId"]]
    assert "RealTimeValues" in balance["Computed"]


@pytest.mark.parametrize("form", ["json", "xml"])
def test_pyetrade_reads_quotes(simulator: Simulator, form: str) -> None:
    """Two symbols give two quotes in both formats."""
    market = pyetrade.ETradeMarket(*pair_of(simulator.sign_in("sandbox")))
    market.base_url = simulator.api_url("sandbox") + "/v1/market/"
    with market.session:
        quotes = market.get_quote(["AAPL", "MSFT"], detail_flag="all", resp_format=form)
    symbols = [quote["Product"]["symbol"] for quote in quotes["QuoteResponse"]["QuoteData"]]
    assert ["AAPL", "MSFT"] == symbols
