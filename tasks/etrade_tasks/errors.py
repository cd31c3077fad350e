"""What can go wrong, one class for each thing that a person must do about it.

    ETradeError
    ├── CredentialsNotFound     create the credentials block, or set the environment variables
    ├── CredentialsInvalid      correct the field or the variable that is named
    ├── SignInRequired          a person signs in at E*TRADE again
    │   └── SessionTooShort     run the pipeline earlier in the session, or split it
    ├── ConfigurationRefused    correct the key, the secret or the address
    ├── AddressRefused          call that address by a client that signs nothing
    ├── RenewalFailed           wait and run again; E*TRADE or the network did not answer well
    ├── VerifierRefused         start the sign-in again, and enter the new verifier
    ├── AuthorizationFailed     try the sign-in or sign-out again later
    ├── TokensNotRenewed        do for each token of a fleet what its own error says
    └── PrefectUnavailable      start the Prefect server, or correct the PREFECT_ setting that is named

Messages are stored by the Prefect server and shown to anybody who may see a run, so they never hold a token,
a key, a signature, a header or an unredacted body.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

_NEXT = " Next: "

FACTS = ("credentials", "outcome", "problem", "status", "expires_at", "attempts")
"""The attributes by which code tells one error from another; no code reads a message."""


class ETradeError(Exception):
    """The base of every error that this package raises on purpose.

    A message that quotes an answer must be given with its `advice`: without, the end of the message could
    pass for it.

    Attributes:
        message: What happened.
        advice: What to do next: the command to run or the screen to open.
        retryable: Whether the same call can succeed later without a person doing anything.
        credentials: The name of the credentials; None where none were at hand.
        outcome: What E*TRADE's last answer means, as one of `Outcome`; None if it was not asked.
        problem: The `oauth_problem` that E*TRADE named; None if it named none.
        status: The HTTP status of E*TRADE's last answer; None if there was none.
        expires_at: The midnight US Eastern that ends the session, where that is why.
        attempts: How many calls were made to E*TRADE.
    """

    default_advice: ClassVar[str] = "read the run's log in the Prefect UI (Runs)."
    retryable: ClassVar[bool] = False

    message: str
    advice: str

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        credentials: str | None = None,
        outcome: str | None = None,
        problem: str | None = None,
        status: int | None = None,
        expires_at: datetime | None = None,
        attempts: int = 0,
    ) -> None:
        self.message = message
        self.advice = advice or self.default_advice
        self.credentials = credentials
        self.outcome = outcome
        self.problem = problem
        self.status = status
        self.expires_at = expires_at
        self.attempts = attempts
        # Prefect's JSON serializer rebuilds an exception from its text alone, and that ends with the advice.
        complete = advice is None and _NEXT in message
        super().__init__(message if complete else f"{message}{_NEXT}{self.advice}")

    @property
    def facts(self) -> dict[str, Any]:
        """What it knows besides message and advice, by the names of its attributes."""
        return {name: getattr(self, name) for name in FACTS}

    def __reduce__(self) -> tuple[type[ETradeError], tuple[str], dict[str, Any]]:
        """Survive a trip between processes, attributes included."""
        return type(self), (str(self),), self.__dict__


class CredentialsNotFound(ETradeError):
    """No credentials of that name: neither a Prefect block nor environment variables."""

    default_advice = (
        "run `etrade-session login`, which makes the block and signs in; or create it in the Prefect UI "
        "(Blocks > + > E*TRADE Credentials), or set the ETRADE_* variables."
    )


class CredentialsInvalid(ETradeError):
    """Credentials or `ETRADE_*` settings were found and cannot be used as they stand."""

    default_advice = "correct the named field in the Prefect UI (Blocks), or the ETRADE_* variable."


class SignInRequired(ETradeError):
    """The session is over. No machine can renew it; a person signs in."""

    default_advice = (
        "sign in at E*TRADE: run `etrade-session login`, or start `sign-in` in the Prefect UI (Deployments)."
    )


def sign_in_advice(credentials: str) -> str:
    """What a person does to open the next session of the credentials of that name."""
    return (
        f"sign in at E*TRADE: run `etrade-session login --credentials {credentials}`, or start `sign-in` in "
        "the Prefect UI (Deployments). A token that is set by hand, in a block or the ETRADE_* variables, "
        "needs a new `Signed in at` too, or none."
    )


class SessionTooShort(SignInRequired):
    """The session is good, and ends sooner than the pipeline needs it: only the next one is long enough."""

    default_advice = "run the pipeline after the next sign-in, or split it so that each part fits."


class ConfigurationRefused(ETradeError):
    """E*TRADE refused the request itself: a key, a secret or an address is wrong."""

    default_advice = (
        "compare the consumer key, its secret and the environment in the credentials block "
        "(Prefect UI > Blocks) with the key that E*TRADE issued."
    )


class AddressRefused(ETradeError):
    """A request was neither signed nor sent: its address is not E*TRADE's, nor that of the credentials."""

    default_advice = (
        "call other addresses by a client of their own (`httpx.get`), which signs nothing; where this one "
        "serves E*TRADE's API, set it as the API address of the credentials."
    )


class RenewalFailed(ETradeError):
    """Every attempt failed, and none of the answers says that a person must act.

    Attributes:
        retry_after: How long to wait before the next attempt; None to back off as usual. It survives
            pickling, but no serializer that keeps the text alone.
    """

    default_advice = "run the renewal again in some minutes; if it keeps failing, look at E*TRADE's status."
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        retry_after: timedelta | None = None,
        **facts: Any,  # noqa: ANN401  # as the base names them
    ) -> None:
        super().__init__(message, advice=advice, **facts)
        self.retry_after = retry_after


class VerifierRefused(ETradeError):
    """The verifier buys no token: it is wrong, late or used already, or nobody accepted."""

    default_advice = "start the sign-in again, and enter the new verifier within five minutes."


class AuthorizationFailed(ETradeError):
    """A call for a sign-in or a sign-out failed every time, and no answer says that a person must act."""

    default_advice = "try again in some minutes; if it keeps failing, look at E*TRADE's status."
    retryable = True


class TokensNotRenewed(ETradeError):
    """Some tokens of a fleet are not renewed; every other one is.

    Attributes:
        good: How many sessions are good.
        errors: Why each of the others is not, by the names of the credentials. It survives pickling, but no
            serializer that keeps the text alone.
    """

    default_advice = "do for each of them what the table `etrade-fleet` says (Prefect UI > Artifacts)."

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        good: int = 0,
        errors: Mapping[str, ETradeError] | None = None,
        **facts: Any,  # noqa: ANN401  # as the base names them
    ) -> None:
        super().__init__(message, advice=advice, **facts)
        self.good = good
        self.errors = dict(errors or {})


class PrefectUnavailable(ETradeError):
    """The Prefect server cannot be reached or does not answer as one, or the result storage does not load."""

    default_advice = (
        "see that the Prefect server runs (`prefect server start`), and that PREFECT_API_URL is its address, "
        "with /api at the end (`prefect config view`); `etrade-session doctor` tells more."
    )


ERRORS: dict[str, type[ETradeError]] = {
    error.__name__: error
    for error in (
        CredentialsNotFound,
        CredentialsInvalid,
        SignInRequired,
        SessionTooShort,
        ConfigurationRefused,
        RenewalFailed,
        VerifierRefused,
        AuthorizationFailed,
        PrefectUnavailable,
    )
}
"""Every error by its name, for one that comes back from a record."""


def must_sign_in(errors: Mapping[str, ETradeError]) -> list[str]:
    """The names among these, by which errors stand, that a person must sign in to."""
    return [name for name, error in errors.items() if isinstance(error, SignInRequired)]
