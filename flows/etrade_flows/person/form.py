"""What a person is asked in the Prefect UI when a `sign-in` waits, and that nothing of it is kept.

The form that Resume opens holds E*TRADE's address, with the consumer key and the request token in it. That
token is worthless without its secret, which the waiting process alone holds; so the address is shown while it
is of use, where it can be deleted. A log, an artifact and a parameter are no such places: the server puts an
artifact into an event, and keeps that. Form and input are stored in plain text, and deleted as soon as the
input has been read; what a process leaves that is killed while it waits, the next sign-in deletes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Crashed, Running
from pydantic import Field

from etrade_flows.runs.names import SIGN_IN, is_called, sign_in_run
from etrade_flows.runs.tags import current_run
from etrade_flows.runs.way_in import may_live
from etrade_tasks.oauth.authorization import REQUEST_TOKEN_LIFETIME

PATIENCE = int(REQUEST_TOKEN_LIFETIME.total_seconds())
"""Seconds that a run waits for its person."""

POLL_SECONDS = 2
"""How often a waiting run looks for the answer."""

LOOKED_AT = 20
"""How many earlier sign-ins are looked at for what they may have left."""


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
        description="The five characters that E*TRADE shows once you have accepted. They work once.",
    )


def ask(text: str) -> str:
    """The verifier that a person enters into the form, under this text; nothing of either is kept.

    Args:
        text: What the form says above its field, as markdown.

    Raises:
        FlowPauseTimeout: Nobody answered within `PATIENCE` seconds. The run may pause again.
    """
    with _inputs_deleted(), _pauses_unlogged():
        form = Answer.with_initial_data(description=text)
        try:
            return pause_flow_run(form, timeout=PATIENCE, poll_interval=POLL_SECONDS).verifier
        except FlowPauseTimeout:
            _end_pause()
            raise


def _end_pause() -> None:
    """Bring a run whose pause is over back to running: only so can it pause again, or end as it says."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(this_run()).state
        # Failed is what the server makes of it where Resume is pressed in the moment after the pause's time.
        if found is not None and (found.is_paused() or found.is_failed()):
            client.set_flow_run_state(this_run(), Running(), force=True)


def show_life() -> None:
    """Let the server note that the run goes on: after `SILENCE` the next sign-in takes it for dead."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(this_run()).state
        if found is not None and found.is_running():  # and is not cancelled
            client.set_flow_run_state(this_run(), Running(), force=True)


@contextmanager
def _pauses_unlogged() -> Iterator[None]:
    """Keep out of the log what Prefect says of every pause: for a run kept open, a line in five minutes."""

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.module != "flow_runs"  # Prefect's own, where a run pauses

    logger = logging.getLogger("prefect.flow_runs")
    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)


@contextmanager
def _inputs_deleted() -> Iterator[None]:
    """Delete what the form held and what was entered, at the end of the `with` block."""
    try:
        yield
    finally:
        with get_client(sync_client=True) as client:
            _delete_inputs(client, this_run())


def clear_leftovers(credentials: str) -> None:
    """Delete the forms and answers of sign-ins whose process has died, and end those runs.

    Args:
        credentials: The credentials' name.
    """
    ours = FlowFilter.model_validate({"name": {"any_": [SIGN_IN]}})
    left = FlowRunFilter.model_validate(
        {"name": {"like_": sign_in_run(credentials)}, "state": {"type": {"any_": _MAY_HAVE_LEFT}}}
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(
            flow_filter=ours, flow_run_filter=left, sort=FlowRunSort.START_TIME_DESC, limit=LOOKED_AT
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
    assert run is not None  # noqa: S101  # for type checkers: a run alone can pause
    return run.id
