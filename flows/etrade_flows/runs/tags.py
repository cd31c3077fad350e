"""A run's tags, with which people filter and code reads the result; and its name, which people read."""

from __future__ import annotations

import threading
from uuid import UUID
from weakref import WeakValueDictionary

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from etrade_flows.runs.attempts import AttemptOutcome
from etrade_flows.runs.best_effort import best_effort
from etrade_tasks.time_limit import empty_in_forks

OURS = "etrade"
"""The tag of every run that this package touches."""

_OUTCOME = "outcome:"

# The threads of a run each write all of its tags, so they take turns.
_turns: WeakValueDictionary[UUID, threading.Lock] = WeakValueDictionary()
empty_in_forks(_turns)


def current_run() -> FlowRun | None:
    """The flow run that the code is part of; None outside any run."""
    context = FlowRunContext.get()
    return context.flow_run if context else None


def outcome_tag(outcome: AttemptOutcome) -> str:
    """The tag for an outcome, such as `outcome:sign-in-required`."""
    return f"{_OUTCOME}{outcome.replace(' ', '-')}"


def outcome_of(run: FlowRun) -> AttemptOutcome | None:
    """The outcome in the run's tag; None if it has none."""
    return next((each for each in AttemptOutcome if outcome_tag(each) in run.tags), None)


def tag_run(*tags: str, outcome: AttemptOutcome | None = None, name: str | None = None) -> None:
    """Tag the current run with `etrade` and these tags, and replace the tag of its outcome.

    If the server does not accept the tags and the name, a warning says so.

    Args:
        tags: Other tags: the credentials' name, the environment.
        outcome: The run's outcome; None if it has none yet.
        name: The run's new name; None to keep its name.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run = context.flow_run
    turn = _turns.setdefault(run.id, threading.Lock())
    with turn, best_effort("The tags could not be written"):
        if context.detached:  # another process's copy of the run, from when its task was submitted
            with get_client(sync_client=True) as client:
                run.tags = client.read_flow_run(run.id).tags
        kept = {tag for tag in run.tags if not tag.startswith(_OUTCOME)}
        if outcome is not None:
            kept.add(outcome_tag(outcome))
        wanted = sorted(kept.union(tags, [OURS]))
        name = name or run.name
        if (wanted, name) == (sorted(run.tags), run.name):
            return
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, tags=wanted, name=name)
        # A retry in this process sees the run as Prefect read it at the beginning.
        run.tags, run.name = wanted, name
