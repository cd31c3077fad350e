"""What the tests of the automations share: a server that knows its own address, and somebody to notify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

UI = "http://prefect.example/v2"
"""What the server takes for the address of its UI."""


def alerts(*options: str) -> int:
    """Run `etrade-session alerts` with these options, and give what it exits with."""
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
    """A Prefect server of this module's own, which writes links to `UI`."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_UI_URL,
        temporary_settings,
    )

    # Each is one for the process, and stays with the server for which it was first used.
    EventsWorker.drain_all()
    APILogWorker.drain_all()
    changes = {PREFECT_UI_URL: UI, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(changes), harness():
        yield


@pytest.fixture(scope="module")
def notify(server: None, inbox: Any) -> str:
    """The name of the block by which the inbox is notified."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    text = {"subject": "{{subject}}", "body": "{{body}}"}
    CustomWebhookNotificationBlock(name="inbox", url=inbox.url, json_data=text).save("inbox")
    return "custom-webhook/inbox"


@pytest.fixture(scope="module")
def sign_in_deployment(server: None) -> str:
    """A deployment that takes what `sign-in` takes; its runs stay scheduled, as nothing works on them."""
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
    """The automations are installed; call it to install them again, as the command does."""

    def install() -> int:
        return alerts("--notify", notify, "--sign-in-deployment", sign_in_deployment)

    assert install() == 0
    return install
