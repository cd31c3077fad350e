"""Finds where a person can sign in now: at the run that waits for them, else at the form that starts one.

An alert must link there. An automation starts the sign-in when it gets an event. A notification for the same
event cannot know that run: Prefect gives its template only the run that emitted the event, and no action
learns what another one did. If the sign-in itself sent the alert, there would be none if its run never began.
So the run that finds a sign-in due first asks for one, waits until its run exists, which takes a second, and
only then sends its alert with the link. If no run comes, it sends the alert with a link to the form.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.utilities.urls import url_for

from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.names import SIGN_IN, START_SIGN_IN, flow_called, meant
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import SessionTooShort, SignInRequired

GRACE = timedelta(minutes=1)
"""How long a paused run may still wait after its time: its process checks only now and then."""

SILENCE = timedelta(hours=1)
"""The longest that a live process stays in one state, other than a pause. After that it has died."""

STARTS_WITHIN = 15.0
"""How long to wait for a sign-in that was asked for, in seconds."""

_LOOK_EVERY = 0.5
_LOOKED_AT = 50
_GOING_ON = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]

Required = TypeVar("Required", bound=SignInRequired)


@dataclass(frozen=True, slots=True)
class WayIn:
    """Where a person signs in.

    Attributes:
        address: The page in the Prefect UI.
        waits: Whether a run is waiting there; else it is the form that starts one.
    """

    address: str
    waits: bool

    def advice(self, credentials: str) -> str:
        """What a person does there, the link first."""
        if self.waits:
            return f"sign in now: {self.address} (press Resume in the menu of the waiting run)."
        return (
            f"sign in now: {self.address} (start the run, and press Resume in its menu), or run "
            f"`etrade-session login --credentials {credentials}`."
        )


def led_to_sign_in(
    error: Required, name: str, loaded: ETradeCredentials | None, call: Callable[[], bool] = lambda: False
) -> Required:
    """The same error, with advice that links to the sign-in. Unchanged if nobody can sign in in the UI.

    Args:
        error: The error that says that nobody is signed in.
        name: The credentials' name.
        loaded: The credentials, if they could be loaded. No run can sign in to those of the environment.
        call: Asks for a sign-in if an automation starts one and none is waiting; returns whether it did.
    """
    block_id = loaded._block_document_id if loaded else None  # noqa: SLF001  # Prefect has no public name
    if block_id is None or isinstance(error, SessionTooShort):
        return error
    way = None
    with best_effort("The link to sign in could not be looked up"), get_client(sync_client=True) as client:
        way = find_way_in(client, name, call)
    return type(error)(error.message, advice=way.advice(name), **error.facts) if way else error


def find_way_in(
    client: SyncPrefectClient, credentials: str, call: Callable[[], bool] = lambda: False
) -> WayIn | None:
    """Where a person signs in to these credentials; None if there is no deployment of `sign-in`.

    Args:
        client: The server's client.
        credentials: The credentials' name.
        call: As in `led_to_sign_in`.
    """
    run = _waiting_run(client, credentials)
    automations = client.read_automations_by_name(START_SIGN_IN) if run is None else []
    if any(each.enabled for each in automations) and call():
        ends_at = time.monotonic() + STARTS_WITHIN
        while run is None and time.monotonic() < ends_at:
            time.sleep(_LOOK_EVERY)
            run = _waiting_run(client, credentials)
    if run is not None:
        page = url_for("flow-run", obj_id=run.id)
        return WayIn(page, waits=True) if page else None
    return _form(client, credentials)


def may_live(state: State[Any]) -> bool:
    """Whether a process may still work on a run in that state, or may begin to."""
    at = datetime.now(UTC)  # the server's time, not that of the package's clock
    if state.is_paused():
        until = state.state_details.pause_timeout
        return until is None or at < until + GRACE
    return not state.is_final() and at < state.timestamp + SILENCE


def _waiting_run(client: SyncPrefectClient, credentials: str) -> FlowRun | None:
    """The sign-in that waits for a person, or will soon; None if there is none."""
    due = FlowRunFilter.model_validate(
        {
            "state": {"type": {"any_": _GOING_ON}},
            # Nobody can sign in at a run that is planned for later; there may be a hundred.
            "expected_start_time": {"before_": datetime.now(UTC) + GRACE},
        }
    )
    runs = client.read_flow_runs(
        flow_filter=flow_called(SIGN_IN),
        flow_run_filter=due,
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=_LOOKED_AT,
    )
    theirs = [
        run for run in runs if meant(run.parameters) == credentials and run.state and may_live(run.state)
    ]
    return min(theirs, key=lambda run: run.state is None or not run.state.is_paused(), default=None)


def _form(client: SyncPrefectClient, credentials: str) -> WayIn | None:
    """The form of the deployment that signs in to these credentials, or of one that takes their name."""
    found = client.read_deployments(flow_filter=flow_called(SIGN_IN))
    deployments = sorted(found, key=lambda each: each.created or datetime.max.replace(tzinfo=UTC))
    if not deployments:
        return None
    own = (each for each in deployments if meant(each.parameters) == credentials)
    deployment = next(own, deployments[0])
    page = url_for("deployment", obj_id=deployment.id)
    if page is None:
        return None
    filled_in = ""
    if meant(deployment.parameters) != credentials:
        given = deployment.parameters | {"credentials": credentials}
        filled_in = "?parameters=" + quote(json.dumps(given, separators=(",", ":")), safe="")
    return WayIn(f"{page}/run{filled_in}", waits=False)
