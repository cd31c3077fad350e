"""The parties: the consumer (an application with its key) and its access token."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

Environment = Literal["live", "sandbox"]

ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)

KEY_YEARS = 2
"""About how many calendar years a consumer key works after its issue, as users of E*TRADE report."""


@dataclass(frozen=True)
class Consumer:
    """An application registered with the simulator: its environment, consumer key and consumer secret.

    With ``issued_at``, the key silently lapses two years later, as E*TRADE's do; without, it never lapses.
    """

    environment: Environment
    key: str
    secret: str = field(repr=False)
    issued_at: datetime | None = None

    def lapsed(self, now: datetime) -> bool:
        """Return whether the key no longer works at ``now``."""
        return self.issued_at is not None and now >= _lapses_at(self.issued_at)


@dataclass(frozen=True)
class AccessToken:
    """The result of a sign-in: the token with its secret, and the consumer they belong to.

    Its representation shows only the environment and the time of issue, so it is safe in a log or a failed
    assertion.
    """

    environment: Environment
    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    token: str = field(repr=False)
    token_secret: str = field(repr=False)
    issued_at: datetime


def _lapses_at(issued_at: datetime) -> datetime:
    """The same day and hour of a later year; 1 March instead of a 29 February that does not exist."""
    year = issued_at.year + KEY_YEARS
    try:
        return issued_at.replace(year=year)
    except ValueError:
        return issued_at.replace(year=year, month=3, day=1)


def new_token() -> str:
    """Return a random token or token secret in E*TRADE's form: base64 of 32 bytes, 44 characters.

    Every one contains ``/``, ``+`` and ``=``, the characters that a client must percent-encode. So a client
    that forgets fails here every time, not only sometimes.
    """
    while True:
        token = base64.b64encode(secrets.token_bytes(32)).decode("ascii")
        if "/" in token and "+" in token:
            return token
