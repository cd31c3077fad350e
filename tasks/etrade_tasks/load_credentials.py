"""The task `load-credentials`."""

from contextlib import suppress
from difflib import get_close_matches
from http import HTTPStatus
from typing import cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import ValidationError

from etrade_tasks.credentials import (
    ENVIRONMENT_VARIABLES,
    ETradeCredentials,
    credentials_from_environment,
)
from etrade_tasks.errors import CredentialsInvalid, CredentialsNotFound
from etrade_tasks.inputs import named_problems
from etrade_tasks.logs import run_logger


# A cached credential would stay after the sign-in that replaces it, and a persisted one would be readable.
@task(name="load-credentials", retries=0, cache_policy=NO_CACHE, persist_result=False)
def load_credentials(name: str) -> ETradeCredentials:
    """The credentials of that name: the Prefect block, else the `ETRADE_*` environment variables.

    Args:
        name: The block's name.

    Raises:
        CredentialsNotFound: Neither exists; lists every place searched.
        CredentialsInvalid: One exists but cannot be used; names the field and never its value.
    """
    if block := load_block(name):
        return block
    if credentials := credentials_from_environment():
        run_logger().info(
            "There is no block %r; using the credentials of the ETRADE_* environment variables.", name
        )
        return credentials
    raise credentials_not_found(name)


def credentials_not_found(name: str) -> CredentialsNotFound:
    """The error for a name that does not exist, with the places searched and similar names."""
    near = near_names(name)
    meant = f"Did you mean {near}? " if near else ""
    return CredentialsNotFound(
        f"No E*TRADE credentials named {name!r}. {meant}Searched: the Prefect block "
        f"{ETradeCredentials.get_block_type_slug()}/{name}; the environment variables "
        f"{', '.join(ENVIRONMENT_VARIABLES)}.",
        advice=(f"give the right name ({near}); or " if near else "")
        + f"run `etrade-session login --credentials {name}`, which creates the block and signs in; or "
        "create it in the Prefect UI (Blocks > + > E*TRADE Credentials), or set the ETRADE_* variables.",
        credentials=name,
    )


def near_names(name: str) -> str:
    """The block names that a mistyped name may mean, as `'one' or 'another'`; empty if there are none."""
    return " or ".join(map(repr, get_close_matches(name, block_names())))


def block_names() -> list[str]:
    """The names of all credentials blocks, sorted."""
    with get_client(sync_client=True) as client:
        try:
            documents = client.read_block_documents_by_type(ETradeCredentials.get_block_type_slug())
        except PrefectHTTPStatusError as error:
            if error.response.status_code != HTTPStatus.NOT_FOUND:
                raise
            return []  # the server does not know the block type, so it has no such block
        return sorted(each.name for each in documents if each.name is not None and not each.is_anonymous)


def load_block(name: str) -> ETradeCredentials | None:
    """The block of that name; None if there is none.

    Raises:
        CredentialsInvalid: It does not fit the fields; names them and never their values.
    """
    try:
        # Without `_sync`, Prefect would return a coroutine if the calling flow is async.
        return cast("ETradeCredentials", ETradeCredentials.load(name, _sync=True))  # type: ignore[call-arg]
    except ValueError as error:  # what Prefect raises for a block that does not exist
        if not isinstance(error.__cause__, ObjectNotFound):
            raise
        return None
    except RuntimeError as error:  # what Prefect raises for one that does not fit the fields
        if not isinstance(error.__cause__, ValidationError):
            raise
        refused = unusable_block(name, error.__cause__)
    raise refused


def current_credentials(name: str) -> ETradeCredentials | None:
    """What `load-credentials` would return now, or None; without a log line and without an event.

    Prefect emits an event for each loaded block, which is too many for a check every second.

    Raises:
        CredentialsInvalid: As `load-credentials`.
    """
    with get_client(sync_client=True) as client:
        try:
            found = client.read_block_document_by_name(name, ETradeCredentials.get_block_type_slug())
        except ObjectNotFound:
            return credentials_from_environment()
    try:
        return ETradeCredentials.model_validate(found.data)
    except ValidationError as error:
        refused = unusable_block(name, error)
    raise refused


def require_known(name: str) -> None:
    """Check that credentials of that name exist, before a run starts for them.

    Raises:
        CredentialsNotFound: There are none.
    """
    with suppress(CredentialsInvalid):  # the run reports it
        if current_credentials(name) is None:
            raise credentials_not_found(name)


def unusable_block(name: str, error: ValidationError) -> CredentialsInvalid:
    """The error for a block that does not fit the fields: it names them and never their values."""
    slug = ETradeCredentials.get_block_type_slug()
    return CredentialsInvalid(
        f"The block {slug}/{name} is not usable: {named_problems(error)}.",
        advice=f"correct it in the Prefect UI (Blocks > {name} > Edit).",
        credentials=name,
    )
