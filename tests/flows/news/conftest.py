"""What the tests of the automations share: a server that knows its own address, and somebody to notify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

UI = "http://prefect.example/v2"
"""The address that the server uses for its UI."""


def alerts(*options: str) -> int:
    """Run `etrade-session alerts` with these options, and return its exit code."""
    from etrade_flows.cli import app as cli

    with pytest.raises(SystemExit) as ended:
        cli.main(["alerts", *options])
    return ended.value.code


@pytest.fixture
def install() -> Callable[..., int]:
    """Installs the automations with these options, as the command does."""
    return alerts


@pytest.fixture(scope="module")
def server(harness: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """A Prefect server for this module alone, whose links lead to `UI`."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL,
        PREFECT_UI_URL,
        temporary_settings,
    )

    # A process has only one of each, which stays with the first server that it was used for.
    EventsWorker.drain_all()
    APILogWorker.drain_all()
    changes: dict[Any, Any] = {PREFECT_UI_URL: UI, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    # These tests read no stored event, and while SQLite is busy, the server (3.8) sometimes drops one.
    changes[PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL] = 5
    with temporary_settings(changes), harness():
        yield


@pytest.fixture(scope="module")
def notify(server: None, inbox: Any) -> str:
    """The name of the block that sends notifications to the inbox."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    text = {"subject": "{{subject}}", "body": "{{body}}"}
    CustomWebhookNotificationBlock(name="inbox", url=inbox.url, json_data=text).save("inbox")
    return "custom-webhook/inbox"


@pytest.fixture(scope="module")
def sign_in_deployment(server: None) -> str:
    """The name of a deployment of `sign-in`; its runs stay scheduled, because no worker picks them up."""
    from prefect.client.orchestration import get_client
    from prefect.utilities.callables import parameter_schema

    from etrade_flows import sign_in

    with get_client(sync_client=True) as client:
        client.create_deployment(
            client.create_flow(sign_in),
            name="on-demand",
            parameter_openapi_schema=parameter_schema(sign_in).model_dump(),
            enforce_parameter_schema=True,
        )
    return "sign-in/on-demand"


@pytest.fixture(scope="module")
def installed(notify: str, sign_in_deployment: str) -> Callable[[], int]:
    """Installs the automations, and returns a function that installs them again, as the command does."""

    def install() -> int:
        return alerts("--notify", notify, "--sign-in-deployment", sign_in_deployment)

    assert install() == 0
    return install
