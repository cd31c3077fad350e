"""Planted faults: what goes wrong on purpose, for which calls and how many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from etrade_simulator.answers import HTML, Answer

When = Literal["before", "verified", "after"]
Drop = Literal["before-answer", "mid-body"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong with a call.

    A fault with a ``status`` answers instead of the service. A fault without one keeps the call's own answer,
    and only delays, drips, pads or drops it.

    Attributes:
        status: The status to answer, or ``None`` for the call's own answer.
        body: The body to answer, with a ``status``.
        content_type: The content type to answer, with a ``status``.
        headers: More headers for the answer, such as ``Retry-After``.
        delay: Seconds to wait before the first byte.
        drip: Seconds to wait before each byte of the body.
        size: Bytes to pad the body to, with blanks and without a ``Content-Length``; 0 leaves it as it is.
        drop: Close the connection instead: before any byte, or after half of the body.
        when: ``before`` anything is checked; when the call is ``verified``, so that it only uses up its
            nonce; or ``after`` the call has had its effect, so that only the answer is lost.
    """

    status: int | None = None
    body: str = field(default="", repr=False)
    content_type: str = HTML
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    size: int = 0
    drop: Drop | None = None
    when: When = "before"

    def __post_init__(self) -> None:
        """Check what the types cannot check, also for a fault that came as JSON.

        Raises:
            ValueError: There is no such ``when`` or ``drop``, or a duration or size is negative.
        """
        if self.when not in get_args(When):
            raise ValueError(f"when is one of {', '.join(get_args(When))}, not {self.when!r}")
        if self.drop not in (None, *get_args(Drop)):
            raise ValueError(f"drop is one of {', '.join(get_args(Drop))}, not {self.drop!r}")
        if min(self.delay, self.drip, self.size) < 0:
            raise ValueError("delay, drip and size are never negative")

    @property
    def answer(self) -> Answer | None:
        """Return the answer that replaces the call's own, or ``None`` if that one stays."""
        if self.status is not None:
            return Answer(self.status, self.body, self.content_type, self.headers)
        if self.drop == "before-answer":
            return Answer(0, "")
        return None


@dataclass
class Planted:
    """A fault that strikes the next ``times`` calls whose path ends in ``path``."""

    fault: Fault
    path: str
    times: int
