"""All of the doctor's checks, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from etrade_flows.health.deployment import (
    check_alerts,
    check_deployment,
    check_schedule,
    check_sign_in,
    check_worker,
)
from etrade_flows.health.etrade import (
    check_addresses,
    check_clock,
    check_consumer_key,
    check_data_call,
    check_etrade,
    check_key_age,
)
from etrade_flows.health.events import check_events
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, find
from etrade_flows.health.server import (
    check_block_type,
    check_credentials,
    check_httpx2,
    check_server,
    check_server_version,
    check_settings,
    check_versions,
)
from etrade_flows.health.storage import check_locks, check_result_storage, check_sharing
from etrade_tasks.prefect_context import changed_setting

SERVER_SECONDS = 10.0
"""How long to wait for one answer of the Prefect server."""

CHECKS: dict[str, Callable[[Facts], Finding]] = {
    "versions": check_versions,
    "httpx2": check_httpx2,
    "settings": check_settings,
    "server": check_server,
    "server-version": check_server_version,
    "block-type": check_block_type,
    "credentials": check_credentials,
    "deployment": check_deployment,
    "worker": check_worker,
    "schedule": check_schedule,
    "sign-in": check_sign_in,
    "alerts": check_alerts,
    "events": check_events,
    "etrade": check_etrade,
    "consumer-key": check_consumer_key,
    "key-age": check_key_age,
    "data-call": check_data_call,
    "addresses": check_addresses,
    "clock": check_clock,
    "result-storage": check_result_storage,
    "locks": check_locks,
    "sharing": check_sharing,
}
"""Each check by its name. Never change a name: other programs read it."""


def examine(name: str) -> list[Finding]:
    """The findings of every check for the credentials of that name. Never raises.

    Args:
        name: The credentials' name.
    """
    facts = Facts(name)
    # Prefect's client would retry for minutes; the doctor says at once that nothing answers.
    with changed_setting("client.max_retries", 0), changed_setting("api.request_timeout", SERVER_SECONDS):
        return [find(check, partial(look, facts)) for check, look in CHECKS.items()]
