"""What the tests of the flows and of the command share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from etrade_simulator import AccessToken, Simulator

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def console_handlers() -> Iterator[None]:
    """Undo the command's changes to the console's log handlers."""
    handlers = logging.getLogger().handlers
    filters = {id(handler): list(handler.filters) for handler in handlers}
    yield
    for handler in handlers:
        handler.filters[:] = filters.get(id(handler), handler.filters)


@pytest.fixture
def run() -> Run:
    """Runs the command `etrade-session` with these arguments; returns its exit code."""
    from etrade_flows.cli import app as cli

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return ended.value.code

    return run


@pytest.fixture
def save(block: str, credentials_for: Any, simulator: Simulator, registered: Any) -> Callable[..., str]:
    """Saves a block whose name starts with the name of this test's block; returns its name."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import BlockDocumentCreate
    from prefect.settings import get_current_settings

    def make(name: str, token: AccessToken | None = None, **changes: object) -> str:
        made = credentials_for(token or simulator.sign_in("live"))
        data = made.model_dump(mode="json", context={"include_secrets": True}, exclude={"block_type_slug"})
        kind, schema = registered(get_current_settings().api.url)
        document = BlockDocumentCreate(
            name=f"{block}-{name}", data=data | changes, block_type_id=kind, block_schema_id=schema
        )
        with get_client(sync_client=True) as client:
            client.create_block_document(document)
        return f"{block}-{name}"

    return make
