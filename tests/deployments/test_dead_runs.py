"""The automations that mark dead runs as crashed; tests/cluster/test_topology.py shows that they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.server.events.ordering import PRECEDING_EVENT_LOOKBACK
from ruamel.yaml import YAML

from etrade_flows import renew_access_token
from etrade_tasks.settings import RenewalSettings

FILE = Path(__file__).resolve().parents[2] / "deployments" / "automations" / "dead_runs.yaml"
AUTOMATIONS: list[dict[str, Any]] = YAML(typ="safe").load(FILE)["automations"]


def test_the_file_is_taken_as_it_stands(prefect: Callable[..., str], client: SyncPrefectClient) -> None:
    """Prefect's command creates each automation in the file, and the server keeps what the file says."""
    prefect("automation", "create", "--from-file", str(FILE))
    made = {each["name"]: each for each in client._client.post("/automations/filter").json()}
    for each in AUTOMATIONS:
        found = made[each["name"]]
        client._client.delete(f"/automations/{found['id']}")
        trigger = found["trigger"] | {"expect": sorted(found["trigger"]["expect"])}
        wanted = each["trigger"] | {"expect": sorted(each["trigger"]["expect"])}
        assert wanted.items() <= trigger.items()
        assert found["enabled"]


def test_no_automation_is_quicker_than_prefects_events() -> None:
    """Each waits longer than Prefect delays an event of a scheduled run and a renewal may take, together."""
    shortest = min(each["trigger"]["within"] for each in AUTOMATIONS)
    deadline = RenewalSettings.model_fields["deadline"].default
    assert shortest > PRECEDING_EVENT_LOOKBACK.total_seconds() + deadline.total_seconds()


def test_the_flow_that_is_named_is_the_renewal() -> None:
    """The automation for renewals names the flow as Prefect knows it."""
    named = [each["trigger"]["match_related"] for each in AUTOMATIONS if "match_related" in each["trigger"]]
    assert [renew_access_token.name] == [each["prefect.resource.name"] for each in named]
