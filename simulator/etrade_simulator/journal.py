"""The list of calls the service has seen, with what came of each and without any secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RecordedCall:
    """One call: what was asked for, when, and how it was answered.

    Attributes:
        method: The HTTP method.
        path: The path without its query, so without any key or token.
        status: The status answered, or ``None`` if the connection was dropped before one was.
        at: When it came, in UTC, by the simulator's clock.
        problem: The ``oauth_problem`` it was refused for, ``rate_limit`` or ``data_error``; ``None`` if
            the call was carried out.
        faulted: Whether a planted fault shaped the answer.
    """

    method: str
    path: str
    status: int | None
    at: datetime
    problem: str | None = None
    faulted: bool = False
