"""What can go wrong: one class for each thing that a person must do about it.

    ETradeError
    ├── CredentialsNotFound     create the credentials block, or set the environment variables
    ├── CredentialsInvalid      correct the field or the variable that the message names
    ├── SignInRequired          a person signs in at E*TRADE again
    │   └── SessionTooShort     run the pipeline earlier in the session, or split it
    ├── ConfigurationRefused    correct the key, the secret or the address
    ├── AddressRefused          call that address with a client that signs nothing
    ├── RenewalFailed           wait and run again; E*TRADE or the network kept failing
    ├── VerifierRefused         start the sign-in again, and enter the new verifier
    ├── AuthorizationFailed     try the sign-in or sign-out again later
    ├── TokensNotRenewed        follow the advice of each token's own error
    └── PrefectUnavailable      start the Prefect server, or correct the named PREFECT_ setting

The Prefect server stores messages and shows them to anybody who may see a run. So a message never holds a
token, a key, a signature, a header or an unredacted body.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

_NEXT = " Next: "

FACTS = ("credentials", "outcome", "problem", "status", "expires_at", "attempts")
"""The attributes that tell code about an error; no code reads a message."""


class ETradeError(Exception):
    """The base class of every error that this package raises on purpose.

    If a message quotes an answer, pass `advice` too: else the end of the message could be taken for advice.

    Attributes:
        message: What happened.
        advice: What to do next: the command to run or the screen to open.
        retryable: Whether the same call can succeed later without a person doing anything.
        credentials: The name of the credentials; None if there were none.
        outcome: What E*TRADE's last answer means, as one of `Outcome`; None if E*TRADE was not asked.
        problem: The `oauth_problem` that E*TRADE named; None if it named none.
        status: The HTTP status of E*TRADE's last answer; None if there was none.
        expires_at: The midnight US Eastern that ends the session, if that is the cause.
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
        # Prefect's JSON serializer rebuilds an exception from its text only, which ends with the advice.
        complete = advice is None and _NEXT in message
        super().__init__(message if complete else f"{message}{_NEXT}{self.advice}")

    @property
    def facts(self) -> dict[str, Any]:
        """The error's data besides message and advice, by attribute name."""
        return {name: getattr(self, name) for name in FACTS}

    def __reduce__(self) -> tuple[type[ETradeError], tuple[str], dict[str, Any]]:
        """Pickle the error with its attributes, to pass it between processes."""
        return type(self), (str(self),), self.__dict__


class CredentialsNotFound(ETradeError):
    """No credentials have that name: there is neither a Prefect block nor environment variables."""

    default_advice = (
        "run `etrade-session login`, which creates the block and signs in; or create it in the Prefect UI "
        "(Blocks > + > E*TRADE Credentials), or set the ETRADE_* variables."
    )


class CredentialsInvalid(ETradeError):
    """Credentials or `ETRADE_*` settings exist, but cannot be used."""

    default_advice = "correct the named field in the Prefect UI (Blocks), or the ETRADE_* variable."


class SignInRequired(ETradeError):
    """The session is over and cannot be renewed; a person signs in."""

    default_advice = (
        "sign in at E*TRADE: run `etrade-session login`, or start `sign-in` in the Prefect UI (Deployments)."
    )


def sign_in_advice(credentials: str) -> str:
    """What a person does to open the next session of these credentials."""
    return (
        f"sign in at E*TRADE: run `etrade-session login --credentials {credentials}`, or start `sign-in` in "
        "the Prefect UI (Deployments). If you set a token by hand, in a block or the ETRADE_* variables, "
        "set a new `Signed in at` too, or remove it."
    )


class SessionTooShort(SignInRequired):
    """The session is good, but ends sooner than the pipeline needs; only the next one is long enough."""

    default_advice = "run the pipeline after the next sign-in, or split it so that each part fits."


class ConfigurationRefused(ETradeError):
    """E*TRADE refused the request itself: a key, a secret or an address is wrong."""

    default_advice = (
        "compare the consumer key, its secret and the environment in the credentials block "
        "(Prefect UI > Blocks) with the key that E*TRADE issued."
    )


class AddressRefused(ETradeError):
    """A request was not sent: its address is neither E*TRADE's nor the credentials' API address."""

    default_advice = (
        "call other addresses with another client (`httpx.get`), which signs nothing; if this one serves "
        "E*TRADE's API, set it as the API address of the credentials."
    )


class RenewalFailed(ETradeError):
    """Every attempt failed, and no answer says that a person must act.

    Attributes:
        retry_after: How long to wait before the next attempt; None to back off as usual. Pickling keeps it;
            a serializer that keeps only the text does not.
    """

    default_advice = "run the renewal again in a few minutes; if it keeps failing, check E*TRADE's status."
    retryable = True

    def __init__(self, message: str, *, retry_after: timedelta | None = None, **others: Any) -> None:  # noqa: ANN401  # as the base names them
        super().__init__(message, **others)
        self.retry_after = retry_after


class VerifierRefused(ETradeError):
    """E*TRADE gives no token for the verifier: it is wrong, late or already used, or nobody accepted."""

    default_advice = "start the sign-in again, and enter the new verifier within five minutes."


class AuthorizationFailed(ETradeError):
    """Every call for a sign-in or sign-out failed, and no answer says that a person must act."""

    default_advice = "try again in a few minutes; if it keeps failing, check E*TRADE's status."
    retryable = True


class TokensNotRenewed(ETradeError):
    """Some tokens of a fleet were not renewed; all others were.

    Attributes:
        good: How many sessions are good.
        errors: Why each of the others is not good, by the names of the credentials. Pickling keeps it; a
            serializer that keeps only the text does not.
    """

    default_advice = "follow the advice for each in the table `etrade-fleet` (Prefect UI > Artifacts)."

    def __init__(
        self,
        message: str,
        *,
        good: int = 0,
        errors: Mapping[str, ETradeError] | None = None,
        **others: Any,  # noqa: ANN401  # as the base names them
    ) -> None:
        super().__init__(message, **others)
        self.good = good
        self.errors = dict(errors or {})


class PrefectUnavailable(ETradeError):
    """The Prefect server cannot be reached or gives wrong answers, or the result storage does not load."""

    default_advice = (
        "check that the Prefect server is running (`prefect server start`), and that PREFECT_API_URL is its "
        "address, ending in /api (`prefect config view`); `etrade-session doctor` tells more."
    )


ERRORS: dict[str, type[ETradeError]] = {
    kind.__name__: kind for kind in (*ETradeError.__subclasses__(), SessionTooShort)
}
"""Every error class by its name, to raise an error again from a record."""


def must_sign_in(errors: Mapping[str, ETradeError]) -> list[str]:
    """The names of the credentials that a person must sign in to."""
    return [name for name, error in errors.items() if isinstance(error, SignInRequired)]
