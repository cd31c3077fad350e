"""The form with which `sign-in` asks a person in the Prefect UI; nothing of it is kept.

The form that Resume opens contains E*TRADE's address, with the consumer key and the request token. That token
is useless without its secret, which only the waiting process holds. So the address may be shown while it is
needed, in a place where it can be deleted. That rules out a log, an artifact (which the server copies into an
event, and keeps) and a parameter. Form and input are stored as plain text, and deleted as soon as the input
has been read. If a process is killed while it waits, the next sign-in deletes what it left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Crashed, Running
from pydantic import Field

from etrade_flows.runs.names import SIGN_IN, flow_called, is_called, sign_in_run
from etrade_flows.runs.tags import current_run
from etrade_flows.runs.way_in import may_live
from etrade_tasks.oauth.authorization import REQUEST_TOKEN_LIFETIME

PATIENCE = int(REQUEST_TOKEN_LIFETIME.total_seconds())
"""Seconds that a run waits for a person."""

POLL_SECONDS = 2
"""How often a waiting run looks for the answer."""

LOOKED_AT = 20
"""How many earlier sign-ins are checked for leftovers."""


_MAY_HAVE_LEFT = [
    StateType.PAUSED,  # its process was killed while it waited,
    StateType.RUNNING,  # and then Resume was pressed in time,
    StateType.FAILED,  # or too late
    StateType.CANCELLING,
    StateType.CANCELLED,
    StateType.CRASHED,
]


class Answer(RunInput):
    """What the person enters when the run is resumed."""

    verifier: str = Field(
        title="Verifier",
        description="The five characters that E*TRADE shows after you accept. They work only once.",
    )


def ask(text: str) -> str:
    """The verifier that a person enters into the form; neither the text nor the verifier is kept.

    Args:
        text: The text above the form's field, as markdown.

    Raises:
        FlowPauseTimeout: Nobody answered within `PATIENCE` seconds. The run may pause again.
    """
    form = Answer.with_initial_data(description=text)
    try:
        with _pauses_unlogged():
            return pause_flow_run(form, timeout=PATIENCE, poll_interval=POLL_SECONDS).verifier
    except FlowPauseTimeout:
        # So that it can pause again, or end in its own state. If Resume is pressed just after the pause has
        # timed out, the server sets the run to Failed.
        keep_running(StateType.PAUSED, StateType.FAILED)
        raise
    finally:
        with get_client(sync_client=True) as client:
            _delete_inputs(client, this_run())


def keep_running(*states: StateType) -> None:
    """Set this run to Running if it is in one of these states; in any other, such as Cancelling, it stays.

    For a running run this shows the server that it is alive: after `SILENCE` the next sign-in takes it for
    dead.
    """
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(this_run()).state
        if found is not None and found.type in states:
            client.set_flow_run_state(this_run(), Running(), force=True)


@contextmanager
def _pauses_unlogged() -> Iterator[None]:
    """Keep Prefect's line about each pause out of the log: a run kept open has one every five minutes."""

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.module != "flow_runs"  # the module of Prefect where a run pauses

    logger = logging.getLogger("prefect.flow_runs")
    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)


def clear_leftovers(credentials: str) -> None:
    """Delete the forms and answers of sign-ins to these credentials that have died, and end those runs."""
    left = FlowRunFilter.model_validate(
        {"name": {"like_": sign_in_run(credentials)}, "state": {"type": {"any_": _MAY_HAVE_LEFT}}}
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(
            flow_filter=flow_called(SIGN_IN),
            flow_run_filter=left,
            sort=FlowRunSort.START_TIME_DESC,
            limit=LOOKED_AT,
        ):
            theirs = is_called(run.name, sign_in_run(credentials))
            if not theirs or run.state is None or may_live(run.state):
                continue
            if not run.state.is_final():
                client.set_flow_run_state(run.id, Crashed(message="Its process ended."), force=True)
            _delete_inputs(client, run.id)


def _delete_inputs(client: SyncPrefectClient, run_id: UUID) -> None:
    for found in client.filter_flow_run_input(run_id, key_prefix="paused-", limit=10, exclude_keys=set()):
        client.delete_flow_run_input(run_id, found.key)


def this_run() -> UUID:
    """The id of the current flow run."""
    run = current_run()
    assert run is not None  # noqa: S101  # for type checkers: only a run can pause
    return run.id
