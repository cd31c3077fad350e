"""How code calls the flow `renew-access-token`: as a function or by awaiting it, and without a needless wait.

At the end of a sync flow, Prefect waits up to a second for the thread that sends the run's heartbeats,
because that sleeps in steps of one second (3.8 and 3.9). So a subflow sends none. The run that calls it sends
its own, which show that the process is alive. A run that a worker starts, or a call outside any flow, keeps
them.

Prefect makes a separate request to name a run. So we send the name of a subflow together with its tags: at
the end if an earlier renewal is reused, and before the first call if the session is renewed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from prefect import Flow, State
from prefect.context import FlowRunContext, TaskRunContext

from etrade_flows.runs.names import renewal_run
from etrade_flows.runs.sure_ends import SureFlow
from etrade_flows.runs.tags import tag_run
from etrade_tasks.prefect_context import changed_setting
from etrade_tasks.session import TokenSession

if TYPE_CHECKING:

    class Renewed(TokenSession):
        """The result of a call: an awaitable in async code, the session in other code."""

        def __await__(self) -> Generator[Any, None, TokenSession]:
            """The session."""
            raise NotImplementedError  # exists only for type checkers


NAMED = renewal_run("{credentials}")
"""The template from which Prefect names a run by its parameters."""

P = ParamSpec("P")
R = TypeVar("R")


class RenewalFlow(SureFlow[P, R]):
    """A sync flow that async code may await. It then runs in a thread and does not block the event loop."""

    # Prefect's own overloads know sync flows and async flows, but no flow that is both.
    @overload  # type: ignore[override]
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Renewed: ...

    @overload
    def __call__(self, *args: Any, return_state: Literal[True], **kwargs: Any) -> State[TokenSession]: ...  # noqa: ANN401

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call as `Flow.__call__` does; in async code, return an awaitable of the result."""

        def call() -> object:
            if FlowRunContext.get() is None:
                return super(RenewalFlow, self).__call__(*args, **kwargs)
            with changed_setting("flows.heartbeat_frequency", None):
                return super(RenewalFlow, _named_late(self)).__call__(*args, **kwargs)

        return asyncio.to_thread(call) if _in_async_code() else call()


def _in_async_code() -> bool:
    """Whether the caller can await: it is a coroutine, not sync code that a coroutine has called.

    Prefect runs a sync task or flow that async code calls in the event loop's thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    run, task = FlowRunContext.get(), TaskRunContext.get()
    own_run = run.flow_run.id if run and run.flow_run else None
    if task is not None and task.task_run.flow_run_id in (own_run, None):
        return task.task.isasync
    return run is None or run.flow is None or run.flow.isasync


def take_name(credentials: str) -> None:
    """Set the current run's name here, without telling the server."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None and _is_named_late(context.flow):
        context.flow_run.name = renewal_run(credentials)


def show_name() -> None:
    """Send the current run's name to the server before the run ends."""
    context = FlowRunContext.get()
    if context is not None and _is_named_late(context.flow):
        tag_run()


def _named_late(flow: RenewalFlow[P, R]) -> RenewalFlow[P, R]:
    """The same flow, but Prefect does not name its runs; a name from the caller stays."""
    if flow.flow_run_name != NAMED:
        return flow
    made = copy(flow)
    made.flow_run_name = None
    return made


def _is_named_late(flow: Flow[Any, Any] | None) -> bool:
    return isinstance(flow, RenewalFlow) and flow.flow_run_name is None
