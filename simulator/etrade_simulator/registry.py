"""The service's data: its consumers, the open request tokens and the granted access tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from etrade_simulator.parties import Consumer, Environment
from etrade_simulator.problems import OAuthProblem
from etrade_simulator.tokens import GrantedToken, RequestToken

Token = TypeVar("Token", RequestToken, GrantedToken)


class Registry:
    """Looks up and adds consumers and tokens. A new sign-in leaves older tokens as they are."""

    def __init__(self) -> None:
        self._consumers: dict[str, Consumer] = {}
        self._tokens: dict[str, RequestToken | GrantedToken] = {}

    def add_consumer(self, consumer: Consumer) -> Consumer:
        """Add the consumer, and return it."""
        self._consumers[consumer.key] = consumer
        return consumer

    def add_token(self, token: Token) -> Token:
        """Add the token, and return it."""
        self._tokens[token.token] = token
        return token

    def consumer(self, key: str, environment: Environment | None, now: datetime) -> Consumer:
        """Return the consumer of a key that works at ``now`` in the environment (``None``: in either).

        Raises:
            OAuthProblem: ``consumer_key_rejected``; unknown, lapsed, or the other environment's.
        """
        consumer = self._consumers.get(key)
        if consumer is None or consumer.lapsed(now) or environment not in (None, consumer.environment):
            raise OAuthProblem("consumer_key_rejected")
        return consumer

    def token(self, kind: type[Token], token: str, consumer_key: str | None = None) -> Token:
        """Return the token of this kind, which must be the consumer's own if a key is given.

        Raises:
            OAuthProblem: ``token_rejected``.
        """
        found = self._tokens.get(token)
        if not isinstance(found, kind) or consumer_key not in (None, found.consumer_key):
            raise OAuthProblem("token_rejected")
        return found
