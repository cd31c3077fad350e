"""Defines an operation of the service: the token that signs it, and what it does for a verified caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from etrade_simulator.answers import Answer
from etrade_simulator.parties import Consumer
from etrade_simulator.rates import Module
from etrade_simulator.registry import Registry
from etrade_simulator.tokens import GrantedToken, RequestToken
from etrade_simulator.verification import SignedCall, require


class Signer(Protocol):
    """Any token that signs a call; the signature only uses its secret."""

    @property
    def secret(self) -> str:
        """Return the token secret; it is empty if there is no token."""
        ...


@dataclass(frozen=True)
class NoToken:
    """The token of a request-token call, which has none yet."""

    secret: str = ""


Token = TypeVar("Token", bound=Signer)


@dataclass(frozen=True)
class Caller(Generic[Token]):
    """The caller of a verified call, its token, and the time."""

    call: SignedCall
    consumer: Consumer
    token: Token
    now: datetime
    registry: Registry


@dataclass(frozen=True)
class Operation(Generic[Token]):
    """One thing the service does: which token signs it, and what it does once that is verified.

    ``module`` is the rate-limited family of a data call, and ``None`` for the OAuth calls.
    """

    find_token: Callable[[Registry, SignedCall, Consumer], Token]
    perform: Callable[[Caller[Token]], Answer]
    module: Module | None = None


def no_token(registry: Registry, call: SignedCall, consumer: Consumer) -> NoToken:  # noqa: ARG001
    """Return the token of a call that only the consumer signs."""
    return NoToken()


def request_token(registry: Registry, call: SignedCall, consumer: Consumer) -> RequestToken:
    """Return the consumer's request token that signs the call.

    Raises:
        OAuthProblem: ``parameter_absent`` or ``token_rejected``.
    """
    require(call, ["oauth_token"])
    return registry.request_token(call.oauth["oauth_token"], consumer.key)


def access_token(registry: Registry, call: SignedCall, consumer: Consumer) -> GrantedToken:
    """Return the consumer's access token that signs the call.

    Raises:
        OAuthProblem: ``parameter_absent`` or ``token_rejected``.
    """
    require(call, ["oauth_token"])
    return registry.granted_token(call.oauth["oauth_token"], consumer.key)


def wants_json(call: SignedCall) -> bool:
    """Return whether a data call asks for JSON: by its path's ending, or by its ``Accept`` header."""
    return call.path.endswith(".json") or "application/json" in call.headers.get("accept", "")
