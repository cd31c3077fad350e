"""What the service does: which token signs each call, and what a verified call leads to.

According to E*TRADE's authorization and data pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Generic

from etrade_simulator import answers, sample_data, sample_quotes
from etrade_simulator.answers import Answer
from etrade_simulator.parties import Consumer
from etrade_simulator.problems import DataProblem, OAuthProblem
from etrade_simulator.rates import Module
from etrade_simulator.registry import Registry, Token
from etrade_simulator.sample_quotes import Document
from etrade_simulator.tokens import GrantedToken, RequestToken
from etrade_simulator.verification import SignedCall, require


@dataclass(frozen=True)
class Caller(Generic[Token]):
    """The caller of a verified call, the token that signed it, and the time."""

    call: SignedCall
    consumer: Consumer
    token: Token
    now: datetime
    registry: Registry


@dataclass(frozen=True)
class Operation(Generic[Token]):
    """One thing the service does.

    Attributes:
        signed_by: The kind of token that signs the call; ``None`` if only the consumer signs it.
        perform: What a verified call leads to.
        module: The rate-limited family of a data call; ``None`` for the OAuth calls.
    """

    signed_by: type[Token] | None
    perform: Callable[[Caller[Token]], Answer]
    module: Module | None = None


def wants_json(call: SignedCall) -> bool:
    """Return whether a data call asks for JSON: by its path's ending, or by its ``Accept`` header."""
    return call.path.endswith(".json") or "application/json" in call.headers.get("accept", "")


def _request_token(caller: Caller[Any]) -> Answer:
    require(caller.call, ["oauth_callback"])
    if caller.call.oauth["oauth_callback"] != "oob":
        raise OAuthProblem("callback_rejected", oauth_acceptable_callback="oob")
    token = caller.registry.add_token(RequestToken(caller.consumer.key, caller.now))
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
    caller.registry.add_token(granted)
    return answers.credentials({"oauth_token": granted.token, "oauth_token_secret": granted.secret})


def _renew(caller: Caller[GrantedToken]) -> Answer:
    caller.token.renew(caller.now)
    return Answer(HTTPStatus.OK, "\n\n   Access Token has been renewed   \n\n")


def _revoke(caller: Caller[GrantedToken]) -> Answer:
    caller.token.revoke(caller.now)
    return Answer(HTTPStatus.OK, "Revoked Access Token")


OAUTH_OPERATIONS: dict[str, Operation[Any]] = {
    "/request_token": Operation(None, _request_token),
    "/access_token": Operation(RequestToken, _access_token),
    "/renew_access_token": Operation(GrantedToken, _renew),
    "/revoke_access_token": Operation(GrantedToken, _revoke),
}


def _balance(caller: Caller[GrantedToken]) -> Document:
    if caller.call.query("instType") != "BROKERAGE":
        raise DataProblem(103, "Please enter valid Institution Type")
    account = sample_data.find_account(caller.call.named["account"])
    real_time = (caller.call.query("realTimeNAV") or "").lower() == "true"
    return sample_data.balance(account, real_time=real_time)


def _portfolio(caller: Caller[GrantedToken]) -> Document:
    account = sample_data.find_account(caller.call.named["account"])
    return sample_data.portfolio(account, caller.call.uri.partition("/v1/")[0], caller.now)


def _order(caller: Caller[GrantedToken]) -> Document:
    """Accept an order and do nothing with it; the list of calls shows it."""
    action = caller.call.path.rpartition("/")[2].removesuffix(".json")
    placed = int(caller.now.timestamp() * 1000)
    return {f"{action.capitalize()}OrderResponse": {"orderId": 1, "placedTime": placed}}


def _data(module: Module, read: Callable[[Caller[GrantedToken]], Document]) -> Operation[GrantedToken]:
    """Return the operation of a data call, which uses the token and answers with a document."""

    def perform(caller: Caller[GrantedToken]) -> Answer:
        caller.token.use(caller.now)
        return answers.data(read(caller), as_json=wants_json(caller.call))

    return Operation(GrantedToken, perform, module)


DATA_OPERATIONS: dict[str, Operation[GrantedToken]] = {
    "/accounts/list": _data("accounts", lambda _: sample_data.account_list()),
    "/accounts/{account}/balance": _data("accounts", _balance),
    "/accounts/{account}/portfolio": _data("accounts", _portfolio),
    "/market/quote/{symbols}": _data(
        "market", lambda caller: sample_quotes.quotes(caller.call.named["symbols"], caller.now)
    ),
}

ORDER_OPERATIONS: dict[str, Operation[GrantedToken]] = {
    f"/accounts/{{account}}/orders/{action}": _data("orders", _order)
    for action in ("preview", "place", "cancel")
}
