"""The life of a token: from request token through the person's consent to the access token's midnight.

Pure: every rule takes ``now``, and nothing here reads a clock or does I/O. The rules are from E*TRADE's
authorization pages (request_token, authorize, get_access_token, renew_access_token, revoke_access_token).
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Literal

from etrade_simulator.clock import EASTERN
from etrade_simulator.parties import new_token
from etrade_simulator.problems import OAuthProblem

REQUEST_TOKEN_LIFETIME = timedelta(minutes=5)
IDLE_LIMIT = timedelta(hours=2)
VERIFIER_LENGTH = 5

TokenState = Literal["active", "idle", "expired", "revoked"]
"""An access token's state: ``idle`` needs a renewal; after the later states nothing helps."""

_VERIFIER_ALPHABET = string.ascii_uppercase + string.digits


def next_midnight(moment: datetime) -> datetime:
    """Return the first midnight in US Eastern time after ``moment``.

    A day of 23 or 25 hours, when daylight saving time begins or ends, ends at its own midnight.
    """
    tomorrow = moment.astimezone(EASTERN).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), tzinfo=EASTERN)


@dataclass
class RequestToken:
    """A token of an unfinished sign-in; it is useless until a person accepts."""

    consumer_key: str
    issued_at: datetime
    token: str = field(default_factory=new_token, repr=False)
    secret: str = field(default_factory=new_token, repr=False)
    verifier: str | None = field(default=None, repr=False)
    declined: bool = False
    used: bool = False

    def check_usable(self, now: datetime) -> None:
        """Pass if the token may still be accepted, declined or exchanged.

        Raises:
            OAuthProblem: ``token_used`` after an exchange, ``token_expired`` after five minutes.
        """
        if self.used:
            raise OAuthProblem("token_used")
        if now >= self.issued_at + REQUEST_TOKEN_LIFETIME:
            raise OAuthProblem("token_expired")

    def accept(self, now: datetime) -> str:
        """Return the verifier; it stays the same if a person presses the button again.

        Raises:
            OAuthProblem: As for ``check_usable``, and ``permission_denied`` if declined.
        """
        self.check_usable(now)
        if self.declined:
            raise OAuthProblem("permission_denied")
        if self.verifier is None:
            self.verifier = "".join(secrets.choice(_VERIFIER_ALPHABET) for _ in range(VERIFIER_LENGTH))
        return self.verifier

    def decline(self, now: datetime) -> None:
        """Note that the person declined; this overrides an earlier acceptance.

        Raises:
            OAuthProblem: As for ``check_usable``.
        """
        self.check_usable(now)
        self.declined, self.verifier = True, None

    def exchange(self, verifier: str, now: datetime) -> GrantedToken:
        """Return the access token for the right verifier, once.

        Raises:
            OAuthProblem: As for ``check_usable``; ``permission_denied`` if declined,
                ``permission_unknown`` if nobody has answered yet, ``verifier_invalid`` otherwise.
        """
        self.check_usable(now)
        if self.declined:
            raise OAuthProblem("permission_denied")
        if self.verifier is None:
            raise OAuthProblem("permission_unknown")
        if not secrets.compare_digest(verifier.encode(), self.verifier.encode()):
            raise OAuthProblem("verifier_invalid")
        self.used = True
        return GrantedToken(self.consumer_key, issued_at=now, last_used_at=now)


@dataclass
class GrantedToken:
    """An access token with its two clocks: idle after two unused hours, expired at midnight US Eastern."""

    consumer_key: str
    issued_at: datetime
    last_used_at: datetime
    token: str = field(default_factory=new_token, repr=False)
    secret: str = field(default_factory=new_token, repr=False)
    revoked: bool = False

    @property
    def expires_at(self) -> datetime:
        """Return the midnight that ends the token; a renewal never changes it."""
        return next_midnight(self.issued_at)

    def active(self, now: datetime) -> bool:
        """Return whether a call came within the last two hours."""
        return now < self.last_used_at + IDLE_LIMIT

    def state(self, now: datetime) -> TokenState:
        """Return the token's state at ``now``."""
        if self.revoked:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        return "active" if self.active(now) else "idle"

    def check_alive(self, now: datetime) -> None:
        """Pass if the token may be renewed or revoked, active or not.

        Raises:
            OAuthProblem: ``token_rejected`` if revoked (E*TRADE's word for every token that it does not
                know), ``token_expired`` from midnight on.
        """
        if self.revoked:
            raise OAuthProblem("token_rejected")
        if now >= self.expires_at:
            raise OAuthProblem("token_expired")

    def use(self, now: datetime) -> None:
        """Let a data call use the token, which keeps it active for two more hours.

        Raises:
            OAuthProblem: As for ``check_alive``, and ``token_expired`` if idle.
        """
        self.check_alive(now)
        if not self.active(now):
            raise OAuthProblem("token_expired")
        self.last_used_at = now

    def renew(self, now: datetime) -> None:
        """Make the token active for two more hours, even if it was idle.

        Raises:
            OAuthProblem: As for ``check_alive``.
        """
        self.check_alive(now)
        self.last_used_at = now

    def revoke(self, now: datetime) -> None:
        """End the token for good.

        Raises:
            OAuthProblem: As for ``check_alive``.
        """
        self.check_alive(now)
        self.revoked = True
