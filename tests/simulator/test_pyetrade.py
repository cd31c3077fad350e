"""pyetrade, an independent E*TRADE client, works with only its addresses changed."""

from collections.abc import Iterator
from datetime import timedelta

import pyetrade
import pytest
import requests

from etrade_simulator import AccessToken, Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator in real time, since pyetrade signs by the machine's clock."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def manager(simulator: Simulator) -> Iterator[pyetrade.ETradeAccessManager]:
    """The token manager of pyetrade, with a token that was just issued."""
    manager = manager_of(simulator, simulator.sign_in("live"))
    with manager.session:
        yield manager


def manager_of(simulator: Simulator, token: AccessToken) -> pyetrade.ETradeAccessManager:
    """The token manager of pyetrade for this token, with its addresses changed."""
    manager = pyetrade.ETradeAccessManager(*pair_of(token))
    manager.renew_access_token_url = simulator.oauth_url + "/renew_access_token"
    manager.revoke_access_token_url = simulator.oauth_url + "/revoke_access_token"
    return manager


def pair_of(token: AccessToken) -> tuple[str, str, str, str]:
    """The four credentials in pyetrade's order."""
    return token.consumer_key, token.consumer_secret, token.token, token.token_secret


@pytest.mark.parametrize("environment", ["live", "sandbox"])
def test_pyetrade_signs_in(simulator: Simulator, environment: str) -> None:
    """A sign-in with pyetrade ends in a token that its manager can renew."""
    consumer = simulator.consumer(environment)
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
    with manager.session:
        assert manager.renew_access_token()


def test_pyetrade_renews_and_revokes(simulator: Simulator, manager: pyetrade.ETradeAccessManager) -> None:
    """With pyetrade a token can be renewed and revoked, and cannot be renewed after that."""
    assert (True, True) == (manager.renew_access_token(), manager.revoke_access_token())
    with pytest.raises(requests.HTTPError, match="401"):
        manager.renew_access_token()


def test_pyetrade_revives_an_idle_token(simulator: Simulator) -> None:
    """A data call fails on an idle token, and works after pyetrade's renewal."""
    token = simulator.sign_in("live", last_used_at=simulator.now() - timedelta(hours=3))
    accounts = pyetrade.ETradeAccounts(*pair_of(token), dev=False)
    accounts.base_url = simulator.api_url("live") + "/v1/accounts"
    manager = manager_of(simulator, token)
    with accounts.session, manager.session:
        with pytest.raises(requests.HTTPError, match="401"):
            accounts.list_accounts()
        manager.renew_access_token()
        assert "AccountListResponse" in accounts.list_accounts()


@pytest.mark.parametrize("environment", ["live", "sandbox"])
@pytest.mark.parametrize("form", ["json", "xml"])
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
