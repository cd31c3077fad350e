"""The facts behind `status` and `doctor`. Each is looked up once, when it is first needed.

They come from the settings, the Prefect server, the result storage and, if requested, E*TRADE.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from etrade_flows.health.findings import SkipCheck
from etrade_flows.health.forecast import ScheduledRun
from etrade_flows.health.model import Source
from etrade_flows.health.place import Place, Server, find_server
from etrade_flows.runs.attempts import Attempt
from etrade_flows.runs.history import days_attempts
from etrade_flows.runs.names import RENEWAL, SIGN_IN, flow_called, meant
from etrade_flows.runs.way_in import WayIn, find_way_in
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import CredentialsInvalid, ETradeError
from etrade_tasks.load_credentials import load_credentials, unusable_block
from etrade_tasks.oauth.authorization import try_request_token
from etrade_tasks.oauth.replies import RenewalReply
from etrade_tasks.settings import RenewalSettings, renewal_settings
from etrade_tasks.sharing.record import NOTHING, Block, Folder, Record, Records, open_storage

CALL_LIMIT = timedelta(seconds=5)
"""The longest wait for E*TRADE's answer."""

MOST_RUNS = 200
"""How many scheduled runs the server returns in one answer."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request-token call.

    Attributes:
        sent_at: When it was sent, by this machine's clock.
        reply: The answer, or the network's failure.
    """

    sent_at: datetime
    reply: RenewalReply


class Facts:
    """The facts about the credentials of one name, and about what renews them.

    If a fact cannot be looked up because another one is missing, such as the server or the credentials, it
    raises `SkipCheck`, which says what to fix first.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def server(self) -> Server:
        """Where the server is and whether it answers. Starts a temporary one if Prefect would."""
        return find_server()

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client of the server, which must answer."""
        self.require_server()
        with get_client(sync_client=True) as client:
            yield client

    def require_server(self) -> None:
        """Raise `SkipCheck` unless the server answers."""
        if self.server.failure is not None:
            raise SkipCheck("The Prefect server does not answer.", first="server")

    def require_lasting_server(self) -> None:
        """Raise `SkipCheck` unless the server answers and is not a temporary one."""
        if self.server.place is Place.TEMPORARY:
            raise SkipCheck("A temporary Prefect server runs no deployment.", first="server")
        self.require_server()

    @cached_property
    def deployments(self) -> list[DeploymentResponse]:
        """The deployments of the flow `renew-access-token`."""
        with self.client() as client:
            return client.read_deployments(flow_filter=flow_called(RENEWAL))

    @cached_property
    def sign_ins(self) -> list[DeploymentResponse]:
        """The deployments of the flow `sign-in`, on a server that is not temporary."""
        self.require_lasting_server()
        with self.client() as client:
            return client.read_deployments(flow_filter=flow_called(SIGN_IN))

    @cached_property
    def scheduled(self) -> tuple[ScheduledRun, ...]:
        """The runs for these credentials that have not begun."""
        waiting = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.SCHEDULED]}}})
        with self.client() as client:
            runs = client.read_flow_runs(
                flow_filter=flow_called(RENEWAL),
                flow_run_filter=waiting,
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
                limit=MOST_RUNS,
            )
        # The server cannot filter by parameters.
        theirs = [run for run in runs if meant(run.parameters) == self.name]
        names = {deployment.id: deployment.name for deployment in self.deployments} if theirs else {}
        return tuple(
            ScheduledRun(
                at=datetime.fromtimestamp(run.expected_start_time.timestamp(), UTC),
                deployment=names.get(run.deployment_id) if run.deployment_id else None,
                late=run.state is not None and run.state.name == "Late",
                work_pool=run.work_pool_name,
                force=run.parameters.get("force") is True,
            )
            for run in theirs
            if run.expected_start_time
        )

    @cached_property
    def way_in(self) -> WayIn | None:
        """Where a person signs in in the Prefect UI; None if no run does that."""
        with self.client() as client:
            return find_way_in(client, self.name)

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """The Eastern day's attempts for these credentials."""
        with self.client() as client:
            return tuple(days_attempts(client, self.name, now()))

    @cached_property
    def stored(self) -> tuple[ETradeCredentials | ETradeError, Source]:
        """The credentials, or why there are no usable ones; and where they come from."""
        # `load` would emit an event each time, and delay the command's end by a second.
        with self.client() as client:
            try:
                slug = ETradeCredentials.get_block_type_slug()
                data = client.read_block_document_by_name(self.name, slug).data
            except ObjectNotFound:
                data = None
        try:
            if data is not None:
                return ETradeCredentials.model_validate(data), Source.BLOCK
            # The function itself, because this must not make a run.
            return load_credentials.fn(self.name), Source.ENVIRONMENT
        except ValidationError as error:
            return unusable_block(self.name, error), Source.BLOCK
        except ETradeError as error:
            return error, Source.ENVIRONMENT

    @cached_property
    def credentials(self) -> ETradeCredentials:
        """The usable credentials."""
        found, _ = self.stored
        if isinstance(found, ETradeError):
            raise SkipCheck("There are no usable credentials.", first="credentials")
        return found

    @property
    def record(self) -> Record:
        """The current record of the token's renewals."""
        signed_in = self.credentials.access_token is not None
        return Records().read(self.credentials) if signed_in else NOTHING

    @cached_property
    def settings(self) -> RenewalSettings:
        """The settings from the `ETRADE_*` variables."""
        try:
            return renewal_settings()
        except CredentialsInvalid:
            raise SkipCheck("An ETRADE_* variable cannot be read.", first="settings") from None

    @cached_property
    def exchange(self) -> Exchange:
        """One request-token call to E*TRADE. It changes nothing, and does not use the access token."""
        consumer = self.credentials.consumer_keys
        sent_at = now()
        return Exchange(sent_at, try_request_token(consumer, self.credentials.oauth_base_url, CALL_LIMIT))

    @cached_property
    def result_store(self) -> Folder | Block:
        """Where the records of renewals are kept, as a renewal would find it."""
        self.require_server()  # it may name the storage
        try:
            return open_storage()
        except Exception as error:  # noqa: BLE001  # a block may be missing, unknown, or fail to load
            says = f"The result storage cannot be opened ({type(error).__name__})."
            raise SkipCheck(says, first="result-storage") from None
