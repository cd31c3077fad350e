"""The reasons to refuse a call, as exceptions that carry what E*TRADE tells the client.

Refusal
 +-- OAuthProblem    an ``oauth_problem``, in the words of the OAuth problem reporting extension
 +-- RateExceeded    too many calls in a second or an hour
 +-- DataProblem     a numbered E*TRADE error about the requested data
"""

from __future__ import annotations

from http import HTTPStatus

# RFC 5849, section 3.2: 400 for a fault in the protocol parameters, 401 for a fault in the credentials, the
# token, the signature or the nonce.
_BAD_REQUESTS = frozenset(
    {
        "callback_rejected",
        "parameter_absent",
        "parameter_rejected",
        "signature_method_rejected",
        "version_rejected",
    }
)

RATE_LIMIT_TEXT = "Number of requests exceeded the rate limit set"


class Refusal(Exception):
    """A call that is not carried out; ``problem`` is its one word in the list of calls."""

    problem: str
    status: HTTPStatus


class OAuthProblem(Refusal):
    """An ``oauth_problem`` with the parameters that explain it, in E*TRADE's order."""

    def __init__(self, problem: str, **details: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.details = details
        self.status = HTTPStatus.BAD_REQUEST if problem in _BAD_REQUESTS else HTTPStatus.UNAUTHORIZED

    def pairs(self) -> list[tuple[str, str]]:
        """Return the problem and its details as names and values, the problem first."""
        return [("oauth_problem", self.problem), *self.details.items()]


class RateExceeded(Refusal):
    """Too many calls of one consumer key; E*TRADE answers 400, not 429."""

    problem = "rate_limit"
    status = HTTPStatus.BAD_REQUEST


class DataProblem(Refusal):
    """A numbered error of a data call, with E*TRADE's code, a message and the status."""

    problem = "data_error"

    def __init__(self, code: int, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
