"""What several checks rest on, each found out once and when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

import httpx
from prefect.client.base import ServerType, determine_server_type
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from etrade_flows.health.findings import SkipCheck
from etrade_flows.runs.history import renewal_flow
from etrade_flows.runs.names import SIGN_IN
from etrade_flows.runs.server import prefect_tls_failure
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials, credentials_from_environment
from etrade_tasks.errors import CredentialsInvalid, CredentialsNotFound, ETradeError
from etrade_tasks.load_credentials import load_block
from etrade_tasks.oauth.addresses import is_loopback
from etrade_tasks.oauth.authorization import try_request_token
from etrade_tasks.oauth.replies import RenewalReply
from etrade_tasks.settings import RenewalSettings, renewal_settings
from etrade_tasks.sharing.record import Block, Folder, open_storage

CALL_LIMIT = timedelta(seconds=5)
"""The longest that E*TRADE's answer is waited for."""


class Place(StrEnum):
    """Where the Prefect server is, in words that name no host."""

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
        refused: It answers, and does not let this machine in.
        remedy: What to do about the failure, where TLS failed and says it; None to go by the place.
    """

    place: Place
    failure: str | None = None
    refused: bool = False
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request-token call.

    Attributes:
        sent_at: When it was sent, by this machine's clock.
        reply: What came back, or what the network did instead.
    """

    sent_at: datetime
    reply: RenewalReply


class Facts:
    """What the checks rest on.

    Args:
        name: The credentials' name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def server(self) -> Server:
        """Where the server is and whether it answers. Starts a temporary one where Prefect would."""
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
        except Exception as error:  # noqa: BLE001  # a server that cannot be started raises many kinds
            tls = prefect_tls_failure(error)
            if tls is None:
                return Server(place, type(error).__name__)
            return Server(place, f"TLS: {tls.reason}", remedy=tls.remedy)
        return Server(place)

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client of the server.

        Raises:
            SkipCheck: The server does not answer.
        """
        self.require_server()
        with get_client(sync_client=True) as client:
            yield client

    @contextmanager
    def lasting_client(self) -> Iterator[SyncPrefectClient]:
        """As `client`, of a server that is there when nobody looks.

        Raises:
            SkipCheck: The server does not answer, or is a temporary one.
        """
        if self.server.place is Place.TEMPORARY:
            raise SkipCheck("A temporary Prefect server runs no deployment.", first="server")
        with self.client() as client:
            yield client

    def require_server(self) -> None:
        """Go on only if the server answers.

        Raises:
            SkipCheck: It does not.
        """
        if self.server.failure is not None:
            raise SkipCheck("The Prefect server does not answer.", first="server")

    @cached_property
    def deployments(self) -> list[DeploymentResponse]:
        """The deployments of the flow `renew-access-token`.

        Raises:
            SkipCheck: There is no lasting server.
        """
        with self.lasting_client() as client:
            return client.read_deployments(flow_filter=renewal_flow())

    @cached_property
    def sign_ins(self) -> list[DeploymentResponse]:
        """The deployments of the flow `sign-in`.

        Raises:
            SkipCheck: There is no lasting server.
        """
        wanted = FlowFilter.model_validate({"name": {"any_": [SIGN_IN]}})
        with self.lasting_client() as client:
            return client.read_deployments(flow_filter=wanted)

    def find_credentials(self) -> tuple[ETradeCredentials, bool]:
        """The credentials, and whether they are a block.

        Raises:
            SkipCheck: The server does not answer.
            ETradeError: There are none, or they cannot be used.
        """
        self.require_server()
        if block := load_block(self.name):
            return block, True
        if found := credentials_from_environment():
            return found, False
        raise CredentialsNotFound(
            f"There are no credentials named {self.name!r}, neither a block nor ETRADE_* variables.",
            advice=f"run `etrade-session login --credentials {self.name}`, which makes the block.",
        )

    @cached_property
    def credentials(self) -> ETradeCredentials:
        """The credentials, for the checks that need some.

        Raises:
            SkipCheck: There are none, or they cannot be used.
        """
        try:
            return self.find_credentials()[0]
        except ETradeError:
            raise SkipCheck("There are no usable credentials.", first="credentials") from None

    @cached_property
    def settings(self) -> RenewalSettings:
        """What the `ETRADE_*` variables tune.

        Raises:
            SkipCheck: One of them is malformed.
        """
        try:
            return renewal_settings()
        except CredentialsInvalid:
            raise SkipCheck("An ETRADE_* variable cannot be read.", first="settings") from None

    @cached_property
    def exchange(self) -> Exchange:
        """One request-token call to E*TRADE. It changes nothing, and the access token takes no part in it.

        Raises:
            SkipCheck: There are no usable credentials.
        """
        consumer = self.credentials.consumer_keys
        sent_at = now()
        return Exchange(sent_at, try_request_token(consumer, self.credentials.oauth_base_url, CALL_LIMIT))

    @cached_property
    def result_store(self) -> Folder | Block:
        """Where the records of renewals are kept, as a renewal would find it.

        Raises:
            SkipCheck: The server, which may name the place, does not answer; or it cannot be opened.
        """
        self.require_server()
        try:
            return open_storage()
        except Exception as error:  # noqa: BLE001  # a block may be missing, unknown, or fail to load
            says = f"The result storage cannot be opened ({type(error).__name__})."
            raise SkipCheck(says, first="result-storage") from None


def _place() -> Place:
    kind = determine_server_type()
    if kind is ServerType.SERVER:
        # Where a server is told to listen on every interface, people write that address here too.
        host = httpx.URL(get_current_settings().api.url or "").host
        return Place.HERE if host == "0.0.0.0" or is_loopback(host) else Place.ELSEWHERE  # noqa: S104
    return {
        ServerType.CLOUD: Place.CLOUD,
        ServerType.EPHEMERAL: Place.TEMPORARY,
        ServerType.UNCONFIGURED: Place.NOWHERE,
    }[kind]
