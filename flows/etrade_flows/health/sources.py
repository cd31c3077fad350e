"""What the Prefect server, result storage and, if it is to be asked, E*TRADE say of the sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import ValidationError

from etrade_flows.access.renewal import renew_loaded
from etrade_flows.health.forecast import ScheduledRun
from etrade_flows.health.judgement import SessionFacts
from etrade_flows.health.model import Source
from etrade_flows.runs.history import days_attempts, renewal_flow
from etrade_flows.runs.server import RETRIES, prefect_reached
from etrade_tasks.clock import now
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import CredentialsNotFound, ETradeError, SignInRequired
from etrade_tasks.load_credentials import load_credentials, unusable_block
from etrade_tasks.session import TokenSession
from etrade_tasks.sharing.record import NOTHING, Records

MOST_RUNS = 200
"""How many scheduled runs the server tells of in one answer."""


def session_facts(credentials: str | None, *, check: bool = False) -> tuple[SessionFacts, ...]:
    """What is known of the sessions, sorted by name.

    Args:
        credentials: The one to look up; None for every block or, where there is none, the environment.
        check: Ask E*TRADE too, by renewing each session.

    Raises:
        CredentialsNotFound: There is nothing of that name, or nothing at all.
        PrefectUnavailable: The Prefect server does not answer as it should.
    """
    with prefect_reached(), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RETRIES}):
        return _sessions(credentials, check=check)


def _sessions(credentials: str | None, *, check: bool) -> tuple[SessionFacts, ...]:
    with get_client(sync_client=True) as client:
        blocks = dict(_blocks(client))
        names = [credentials] if credentials else sorted(blocks) or [DEFAULT_NAME]
        scheduled = dict(_scheduled(client, names))
        return tuple(_facts(client, name, blocks, scheduled[name], check=check) for name in names)


def _facts(
    client: SyncPrefectClient,
    name: str,
    blocks: Mapping[str, ETradeCredentials | ETradeError],
    scheduled: tuple[ScheduledRun, ...],
    *,
    check: bool,
) -> SessionFacts:
    source = Source.BLOCK if name in blocks else Source.ENVIRONMENT
    loaded = blocks[name] if name in blocks else _from_environment(name)
    checked: TokenSession | ETradeError | None = None
    record = NOTHING
    if isinstance(loaded, ETradeCredentials) and loaded.access_token is not None:
        if check:
            checked = _check(name, loaded)
        record = Records().read(loaded)
    failure = record.failure.error() if record.failure else None
    return SessionFacts(
        credentials=name,
        source=source,
        loaded=loaded,
        record=record.session,
        refused=failure if isinstance(failure, SignInRequired) else None,
        attempts=tuple(days_attempts(client, name, now())),
        scheduled=scheduled,
        checked=checked,
    )


def _from_environment(name: str) -> ETradeCredentials | ETradeError:
    """The credentials that stand in for a block, or why they cannot be used.

    Raises:
        CredentialsNotFound: There are none.
    """
    try:
        return load_credentials.fn(name)  # the function itself: this is no run, and shall leave none
    except CredentialsNotFound:
        raise
    except ETradeError as error:
        return error


def _check(name: str, loaded: ETradeCredentials) -> TokenSession | ETradeError:
    """What E*TRADE says to a renewal just now."""
    try:
        return renew_loaded(name, loaded, force=True)
    except ETradeError as error:
        return error


def _blocks(client: SyncPrefectClient) -> Iterator[tuple[str, ETradeCredentials | ETradeError]]:
    """Every credentials block by name, or why it cannot be used."""
    try:
        documents = client.read_block_documents_by_type(ETradeCredentials.get_block_type_slug())
    except PrefectHTTPStatusError as error:
        if error.response.status_code != HTTPStatus.NOT_FOUND:
            raise
        return  # a server that has never seen such a block does not know its type either
    for document in documents:
        if document.name is None or document.is_anonymous:
            continue
        # `load` would tell the server of each look, and keep the command from ending for a second.
        try:
            yield document.name, ETradeCredentials.model_validate(document.data)
        except ValidationError as error:
            yield document.name, unusable_block(document.name, error)


def _scheduled(client: SyncPrefectClient, names: list[str]) -> Iterator[tuple[str, tuple[ScheduledRun, ...]]]:
    """The runs of each name that have not begun."""
    waiting = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.SCHEDULED]}}})
    runs = client.read_flow_runs(
        flow_filter=renewal_flow(),
        flow_run_filter=waiting,
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=MOST_RUNS,
    )
    deployments = _deployment_names(client, {run.deployment_id for run in runs if run.deployment_id})
    for name in names:
        # A parameter cannot be filtered by; one that is left out has its default.
        theirs = (run for run in runs if run.parameters.get("credentials", DEFAULT_NAME) == name)
        yield name, tuple(_waiting(run, deployments) for run in theirs if run.expected_start_time)


def _waiting(run: FlowRun, deployments: dict[UUID, str]) -> ScheduledRun:
    assert run.expected_start_time is not None  # noqa: S101  # for type checkers; the caller has looked
    return ScheduledRun(
        at=datetime.fromtimestamp(run.expected_start_time.timestamp(), UTC),
        deployment=deployments.get(run.deployment_id) if run.deployment_id else None,
        late=run.state is not None and run.state.name == "Late",
        work_pool=run.work_pool_name,
        force=run.parameters.get("force") is True,
    )


def _deployment_names(client: SyncPrefectClient, ids: set[UUID]) -> dict[UUID, str]:
    if not ids:
        return {}
    theirs = DeploymentFilter.model_validate({"id": {"any_": sorted(ids)}})
    return {found.id: found.name for found in client.read_deployments(deployment_filter=theirs)}
