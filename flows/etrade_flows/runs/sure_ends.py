"""Gives callers the result or the error of a flow even if Prefect loses it.

If an answer is lost, such as one that a busy server sends too late, Prefect's client proposes the same state
again. The server rejects it, because it has that state already, and sends its own copy, which has no data. If
a flow returns a state, as ours do to show a message, Prefect's engine uses that copy. The caller then gets
`MissingResult` or `FailedRun` instead of the session or our error (3.8, 3.9). So each run also keeps its
result outside of the state.
"""

from __future__ import annotations

from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from prefect import Flow, State
from prefect.exceptions import FailedRun, MissingResult

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ends: ContextVar[list[object] | None] = ContextVar("etrade_ends", default=None)


def keep_end(end: T) -> T:
    """Keep the current run's result, or the error that ends it, for the caller; return it."""
    ends = _ends.get()
    if ends is not None:
        ends.append(end)
    return end


class SureFlow(Flow[P, R]):
    """A sync flow that gives its caller what its run has kept, if Prefect has lost that."""

    if not TYPE_CHECKING:  # it takes and gives what any flow does

        def __call__(self, *args: object, **kwargs: object) -> object:
            """As `Flow.__call__`."""
            ends: list[object] = []
            token = _ends.set(ends)
            try:
                result = super().__call__(*args, **kwargs)
            except (MissingResult, FailedRun):
                if not ends:
                    raise
            else:
                if isinstance(result, State) and result.data is None and ends:
                    result.data = ends[-1]
                return result
            finally:
                _ends.reset(token)
            if isinstance(ends[-1], Exception):
                raise ends[-1]
            return ends[-1]

    def with_options(self, *args: Any, **options: Any) -> Self:  # noqa: ANN401
        """The same as `Flow.with_options`, which would return a plain flow."""
        return self.of(super().with_options(*args, **options))

    @classmethod
    def of(cls, flow: Flow[P, R]) -> Self:
        """The same flow as one of this class."""
        made = copy(flow)
        made.__class__ = cls
        return cast("Self", made)
