"""Who takes part: the consumer (an application with its key) and the access token it was given."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

Environment = Literal["live", "sandbox"]

ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)

KEY_YEARS = 2
"""How many calendar years a consumer key works after its issue, about, as users of E*TRADE report."""

_SECRET_BYTES = 32


@dataclass(frozen=True)
class Consumer:
    """An application registered with the simulator: its environment, consumer key and consumer secret.

    With ``issued_at`` the key lapses two years later, silently, as E*TRADE's do; without, it never does.
    """

    environment: Environment
    key: str
    secret: str = field(repr=False)
    issued_at: datetime | None = None

    def lapsed(self, now: datetime) -> bool:
        """Tell whether the key no longer works at ``now``."""
        return self.issued_at is not None and now >= _years_after(self.issued_at, KEY_YEARS)


@dataclass(frozen=True)
class AccessToken:
    """What a person's sign-in gave: the token with its secret, and the consumer they belong to.

    Its representation shows the environment and the moment of issue and nothing else, so that it may
    stand in a log or in a failed assertion.
    """

    environment: Environment
    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    token: str = field(repr=False)
    token_secret: str = field(repr=False)
    issued_at: datetime


def _years_after(moment: datetime, years: int) -> datetime:
    """The same day and hour of a later year; the first of March for a 29 February that it has not."""
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        return moment.replace(year=moment.year + years, month=3, day=1)


def new_consumer(environment: Environment, issued_at: datetime | None = None) -> Consumer:
    """Give a consumer with a random key and secret in E*TRADE's form: hexadecimal, 32 and 64 digits."""
    return Consumer(environment, secrets.token_hex(16), secrets.token_hex(32), issued_at)


def new_token() -> str:
    """Give a random token or token secret in E*TRADE's form: base64 of 32 bytes, 44 characters.

    Every one contains ``/``, ``+`` and ``=``, the characters that a client must percent-encode; a client
    that forgets fails here at once and not on some days.
    """
    while True:
        token = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode("ascii")
        if "/" in token and "+" in token:
            return token
