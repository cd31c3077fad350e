"""Checks whether events reach the server. Alerts need them, and so does what the server knows of task runs.

Prefect sends events through a websocket in the background, and shows nothing on the screen if that fails. So
this check sends one and looks for it on the server.
"""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, ok, warning

PROBE = "etrade.doctor.probe"
"""The test event; none of our automations acts on it."""

SECONDS = 20.0
"""How long the websocket may take, and after it the event; the server stores events every few seconds."""

_LOOK_EVERY = 0.5
_LOST = "nobody would be alerted"
_WEBSOCKET = (
    "let the proxy before the Prefect server pass websockets (`Upgrade`, at /api/events/in), or name the "
    "server's host in NO_PROXY; the server's log tells more."
)
_STORED = "check that the server's services run (`prefect server services ls` there), and read its log."


def check_events(facts: Facts) -> Finding:
    """Whether an event sent from here arrives at the server."""
    facts.require_lasting_server()
    with facts.client() as client:
        resource = f"{PROBE}.{uuid4()}"
        try:
            asyncio.run(asyncio.wait_for(_send(resource), SECONDS))
        except Exception as error:  # noqa: BLE001  # a proxy refuses in many ways
            why = type(error).__name__
            return warning(f"No event reaches the Prefect server by websocket ({why}): {_LOST}.", _WEBSOCKET)
        if not _arrives(client, resource):
            return warning(f"An event was sent, but the Prefect server does not show it: {_LOST}.", _STORED)
    return ok("An event sent from here has arrived at the Prefect server.")


async def _send(resource: str) -> None:
    """Send the event without retries; raises what the connection raises."""
    probe = Event(event=PROBE, resource=Resource({"prefect.resource.id": resource}))
    async with get_events_client(reconnection_attempts=0, checkpoint_every=1) as events:
        await events.emit(probe)


def _arrives(client: SyncPrefectClient, resource: str) -> bool:
    wanted = EventFilter(
        event=EventNameFilter(name=[PROBE]), any_resource=EventAnyResourceFilter(id=[resource])
    )
    ends_at = time.monotonic() + SECONDS
    while not client.read_events(wanted, limit=1).events:
        if time.monotonic() >= ends_at:
            return False
        time.sleep(_LOOK_EVERY)
    return True
