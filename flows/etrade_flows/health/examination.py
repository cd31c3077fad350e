"""All of the doctor's checks, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from etrade_flows.health import deployment, etrade, events, server, storage
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Finding, find
from etrade_flows.runs.server import SECONDS
from etrade_tasks.prefect_context import changed_setting

CHECKS: dict[str, Callable[[Facts], Finding]] = {
    "versions": server.check_versions,
    "httpx2": server.check_httpx2,
    "settings": server.check_settings,
    "server": server.check_server,
    "server-version": server.check_server_version,
    "block-type": server.check_block_type,
    "credentials": server.check_credentials,
    "deployment": deployment.check_deployment,
    "worker": deployment.check_worker,
    "schedule": deployment.check_schedule,
    "sign-in": deployment.check_sign_in,
    "alerts": deployment.check_alerts,
    "events": events.check_events,
    "etrade": etrade.check_etrade,
    "consumer-key": etrade.check_consumer_key,
    "key-age": etrade.check_key_age,
    "data-call": etrade.check_data_call,
    "addresses": etrade.check_addresses,
    "clock": etrade.check_clock,
    "result-storage": storage.check_result_storage,
    "locks": storage.check_locks,
    "sharing": storage.check_sharing,
}
"""Each check by its name. Never change a name: other programs read it."""


def examine(name: str) -> list[Finding]:
    """The findings of every check for the credentials of that name. Never raises."""
    facts = Facts(name)
    # Prefect's client would retry for minutes; the doctor says at once that nothing answers.
    with changed_setting("client.max_retries", 0), changed_setting("api.request_timeout", SECONDS):
        return [find(check, partial(look, facts)) for check, look in CHECKS.items()]
