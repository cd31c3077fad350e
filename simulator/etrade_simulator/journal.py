"""The list of calls to the service, with each one's result and without any secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RecordedCall:
    """One call: what it asked for, when, and how it was answered.

    Attributes:
        method: The HTTP method.
        path: The path without its query, so without any key or token.
        status: The status of the answer, or ``None`` if the connection was dropped before.
        at: When it came, in UTC, by the simulator's clock.
        problem: The ``oauth_problem`` of a refusal, ``rate_limit`` or ``data_error``; ``None`` if the call
            was carried out.
        faulted: Whether a planted fault changed the answer.
    """

    method: str
    path: str
    status: int | None
    at: datetime
    problem: str | None = None
    faulted: bool = False
