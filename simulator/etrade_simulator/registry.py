"""The service's data: its consumers, the open request tokens and the granted access tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from etrade_simulator.parties import Consumer, Environment
from etrade_simulator.problems import OAuthProblem
from etrade_simulator.tokens import GrantedToken, RequestToken

_Token = TypeVar("_Token", RequestToken, GrantedToken)


class Registry:
    """Looks up and adds consumers and tokens. A new sign-in leaves older tokens as they are."""

    def __init__(self) -> None:
        self._consumers: dict[str, Consumer] = {}
        self._requests: dict[str, RequestToken] = {}
        self._granted: dict[str, GrantedToken] = {}

    def add_consumer(self, consumer: Consumer) -> Consumer:
        """Add the consumer, and return it."""
        self._consumers[consumer.key] = consumer
        return consumer

    def add_request_token(self, token: RequestToken) -> RequestToken:
        """Add the request token, and return it."""
        self._requests[token.token] = token
        return token

    def add_granted_token(self, token: GrantedToken) -> GrantedToken:
        """Add the access token, and return it."""
        self._granted[token.token] = token
        return token

    def consumer(self, key: str, environment: Environment | None, now: datetime) -> Consumer:
        """Return the consumer of a key that works at ``now`` in the environment (``None``: in either).

        Raises:
            OAuthProblem: ``consumer_key_rejected``; unknown, lapsed, or the other environment's.
        """
        consumer = self._consumers.get(key)
        if consumer is None or consumer.lapsed(now):
            raise OAuthProblem("consumer_key_rejected")
        if environment is not None and consumer.environment != environment:
            raise OAuthProblem("consumer_key_rejected")
        return consumer

    def request_token(self, token: str, consumer_key: str | None = None) -> RequestToken:
        """Return the request token, which must be the consumer's own if a key is given.

        Raises:
            OAuthProblem: ``token_rejected``.
        """
        return _owned(self._requests.get(token), consumer_key)

    def granted_token(self, token: str, consumer_key: str | None = None) -> GrantedToken:
        """Return the access token, which must be the consumer's own if a key is given.

        Raises:
            OAuthProblem: ``token_rejected``.
        """
        return _owned(self._granted.get(token), consumer_key)


def _owned(token: _Token | None, consumer_key: str | None) -> _Token:
    if token is None or (consumer_key is not None and token.consumer_key != consumer_key):
        raise OAuthProblem("token_rejected")
    return token
