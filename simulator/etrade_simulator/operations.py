"""What each verified call does, according to E*TRADE's authorization and data pages."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from etrade_simulator import answers, sample_data, sample_quotes
from etrade_simulator.answers import Answer
from etrade_simulator.calling import (
    Caller,
    NoToken,
    Operation,
    access_token,
    no_token,
    request_token,
    wants_json,
)
from etrade_simulator.problems import DataProblem, OAuthProblem
from etrade_simulator.tokens import GrantedToken, RequestToken
from etrade_simulator.verification import require


def _request_token(caller: Caller[NoToken]) -> Answer:
    require(caller.call, ["oauth_callback"])
    if caller.call.oauth["oauth_callback"] != "oob":
        raise OAuthProblem("callback_rejected", oauth_acceptable_callback="oob")
    token = caller.registry.add_request_token(RequestToken(caller.consumer.key, caller.now))
    return answers.credentials(
        {
            "oauth_token": token.token,
            "oauth_token_secret": token.secret,
            "oauth_callback_confirmed": "true",
        }
    )


def _access_token(caller: Caller[RequestToken]) -> Answer:
    require(caller.call, ["oauth_verifier"])
    granted = caller.token.exchange(caller.call.oauth["oauth_verifier"], caller.now)
    caller.registry.add_granted_token(granted)
    return answers.credentials({"oauth_token": granted.token, "oauth_token_secret": granted.secret})


def _renew(caller: Caller[GrantedToken]) -> Answer:
    caller.token.renew(caller.now)
    return answers.renewed()


def _revoke(caller: Caller[GrantedToken]) -> Answer:
    caller.token.revoke(caller.now)
    return answers.revoked()


def _account_list(caller: Caller[GrantedToken]) -> Answer:
    caller.token.use(caller.now)
    return answers.data(sample_data.account_list(), as_json=wants_json(caller.call))


def _balance(caller: Caller[GrantedToken], account: str) -> Answer:
    caller.token.use(caller.now)
    if caller.call.query("instType") != "BROKERAGE":
        raise DataProblem(103, "Please enter valid Institution Type")
    document = sample_data.balance(
        sample_data.find_account(account),
        real_time=(caller.call.query("realTimeNAV") or "").lower() == "true",
    )
    return answers.data(document, as_json=wants_json(caller.call))


def _portfolio(caller: Caller[GrantedToken], account: str) -> Answer:
    caller.token.use(caller.now)
    base_url = caller.call.uri.partition("/v1/")[0]
    document = sample_data.portfolio(sample_data.find_account(account), base_url, caller.now)
    return answers.data(document, as_json=wants_json(caller.call))


def _quotes(caller: Caller[GrantedToken], symbols: str) -> Answer:
    caller.token.use(caller.now)
    return answers.data(sample_quotes.quotes(symbols, caller.now), as_json=wants_json(caller.call))


def _order(caller: Caller[GrantedToken], action: str) -> Answer:
    """Accept an order and do nothing with it; the list of calls shows it."""
    caller.token.use(caller.now)
    document = {f"{action.capitalize()}OrderResponse": {"orderId": 1, "placedTime": _millis(caller.now)}}
    return answers.data(document, as_json=wants_json(caller.call))


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


OAUTH_OPERATIONS: dict[str, Operation[Any]] = {
    "request_token": Operation(no_token, _request_token),
    "access_token": Operation(request_token, _access_token),
    "renew_access_token": Operation(access_token, _renew),
    "revoke_access_token": Operation(access_token, _revoke),
}

ACCOUNT_LIST = Operation(access_token, _account_list, "accounts")


def balance_of(account: str) -> Operation[GrantedToken]:
    """Return the operation that answers this account's balance."""
    return Operation(access_token, partial(_balance, account=account), "accounts")


def portfolio_of(account: str) -> Operation[GrantedToken]:
    """Return the operation that answers this account's positions."""
    return Operation(access_token, partial(_portfolio, account=account), "accounts")


def order_by(action: str) -> Operation[GrantedToken]:
    """Return the operation that accepts an order: ``preview``, ``place`` or ``cancel``."""
    return Operation(access_token, partial(_order, action=action), "orders")


def quotes_of(symbols: str) -> Operation[GrantedToken]:
    """Return the operation that answers the quotes of these symbols, as written in the path."""
    return Operation(access_token, partial(_quotes, symbols=symbols), "market")
