"""Finds where the Prefect server is, in words that name no host, and whether it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import httpx
from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from etrade_flows.runs.server import prefect_tls_failure
from etrade_tasks.oauth.addresses import is_loopback


class Place(StrEnum):
    """Where the Prefect server is."""

    CLOUD = "Prefect Cloud"
    HERE = "the Prefect server on this machine"
    ELSEWHERE = "the Prefect server on another machine"
    TEMPORARY = "the temporary Prefect server"
    NOWHERE = "no Prefect server"


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is, and how it failed.

    Attributes:
        place: Where it is.
        failure: The error's class, or the HTTP status; None if it answers.
        refused: Whether it answers but refuses this machine's requests.
        remedy: What to do if TLS failed and the failure says it; None to go by the place.
    """

    place: Place
    failure: str | None = None
    refused: bool = False
    remedy: str | None = None


def find_server() -> Server:
    """The server in use, and whether it answers. Starts a temporary one if Prefect would."""
    place = _place()
    if place is Place.NOWHERE:
        return Server(place, failure="PREFECT_API_URL is not set")
    try:
        with get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        refused = status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
        return Server(place, f"status {status}", refused=refused)
    except Exception as error:  # noqa: BLE001  # a server that cannot start raises many kinds of errors
        tls = prefect_tls_failure(error)
        if tls is None:
            return Server(place, type(error).__name__)
        return Server(place, f"TLS: {tls.reason}", remedy=tls.remedy)
    return Server(place)


def _place() -> Place:
    kind = determine_server_type()
    if kind is ServerType.SERVER:
        # If a server listens on every interface, people write that address here too.
        host = httpx.URL(get_current_settings().api.url or "").host
        return Place.HERE if host == "0.0.0.0" or is_loopback(host) else Place.ELSEWHERE  # noqa: S104
    return {
        ServerType.CLOUD: Place.CLOUD,
        ServerType.EPHEMERAL: Place.TEMPORARY,
        ServerType.UNCONFIGURED: Place.NOWHERE,
    }[kind]
