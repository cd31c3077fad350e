"""What a run came to reaches its caller although Prefect loses it.

Prefect's client sends a state again whose answer got lost, such as one that a busy server sent too late. The
server has that state by then, and answers with its own copy, which carries no data. Where a flow returns a
state, as ours do for its message, the engine goes by that copy: callers get `MissingResult` or `FailedRun`
instead of the session or our error (3.8, 3.9). So the run leaves what it came to beside the state, too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from prefect import Flow, State
from prefect.exceptions import FailedRun, MissingResult

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ends: ContextVar[list[object] | None] = ContextVar("etrade_ends", default=None)


def leave(end: T) -> T:
    """Leave for the caller what the current run came to: its result, or the error that it ends with."""
    ends = _ends.get()
    if ends is not None:
        ends.append(end)
    return end


class SureFlow(Flow[P, R]):
    """A sync flow whose callers get what its run has left, where Prefect has lost that."""

    if not TYPE_CHECKING:  # it takes and gives what any flow does

        def __call__(self, *args: object, **kwargs: object) -> object:
            """As `Flow.__call__`."""
            return _surely(lambda: super(SureFlow, self).__call__(*args, **kwargs))

    def with_options(self, *args: Any, **options: Any) -> SureFlow[P, R]:  # noqa: ANN401
        """As `Flow.with_options`, which would make a plain flow of it."""
        return sure(super().with_options(*args, **options))


def sure(flow: Flow[P, R]) -> SureFlow[P, R]:
    """The same flow, whose callers get what its run has left."""
    made = copy(flow)
    made.__class__ = SureFlow
    return cast("SureFlow[P, R]", made)


def _surely(call: Callable[[], object]) -> object:
    """What a call of a flow gives, or what its run has left.

    Raises:
        Exception: What the call raises, or the error that the run has left.
    """
    ends: list[object] = []
    token = _ends.set(ends)
    try:
        result = call()
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
