"""A scaled-out cluster under load, whose parts are killed and restarted one at a time.

An hour lasts 45 seconds here: a renewal is scheduled that often and reused for 37.5 s, and no token may go
90 s without one. A pipeline runs every 15 s as well. This is harder than real life, because some times do
not shrink with the hours: a run still takes seconds to start, and a server takes ten to restart.

`CLUSTER_MINUTES=60 make cluster` runs for an hour. Like every test in real time, it must end before
midnight US Eastern, when the token expires.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from ruamel.yaml import YAML

from etrade_flows import renew_access_token
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials

pytestmark = pytest.mark.endurance

RENEW = "/oauth/renew_access_token"
HOUR = timedelta(seconds=45)
WINDOW = HOUR * 50 / 60
IDLE_LIMIT = 2 * HOUR
DOWN = 10
"""How many seconds a part stays down."""
SILENT = 75
"""Seconds without a heartbeat after which a run counts as dead; heartbeats come every 30."""

LIVING = ["RUNNING", "PENDING", "CANCELLING"]
AUTOMATIONS = Path(__file__).parents[2] / "deployments" / "automations" / "dead_runs.yaml"
PIPELINES = Path(__file__).parent


@dataclass
class Story:
    """What happened.

    Attributes:
        signed_in_at: When the token was issued.
        ended_at: When the schedules were stopped.
        renewed_at: When the simulator renewed it.
        outages: What was killed, when, and when it was up again.
        runs: Every run that the server knows at the end.
    """

    signed_in_at: datetime
    ended_at: datetime = field(init=False)
    renewed_at: list[datetime] = field(default_factory=list)
    outages: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def gaps(self) -> list[timedelta]:
        """How long the token went without a renewal, each time."""
        moments = [self.signed_in_at, *self.renewed_at, self.ended_at]
        return [later - earlier for earlier, later in pairwise(moments)]

    def told(self) -> str:
        """The figures, as text."""
        lasted = (self.ended_at - self.signed_in_at).total_seconds()
        ends = Counter(run["state_type"] for run in self.runs if run["state_type"] != "SCHEDULED")
        away = Counter(name for name, _, _ in self.outages)
        return (
            f"{lasted:.0f} s, {len(self.renewed_at)} renewals, "
            f"at most {max(self.gaps).total_seconds():.1f} s apart; runs: {dict(ends)}; killed: {dict(away)}"
        )


def deploy(client: SyncPrefectClient) -> None:
    """Deploy the renewal as in `prefect.yaml`, except for its schedule, and a pipeline that calls it."""
    client.create_work_pool(WorkPoolCreate(name="etrade", type="process"))
    client.create_deployment(
        client.create_flow(renew_access_token),
        "hourly",
        schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=HOUR))],
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy="CANCEL_NEW"),
        entrypoint="etrade_flows.renew_access_token:renew_access_token",
        pull_steps=[],
        parameters={"credentials": "etrade"},
        work_pool_name="etrade",
    )
    client.create_deployment(
        client.create_flow_from_name("pipeline"),
        "often",
        schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=HOUR / 3))],
        path=str(PIPELINES),
        entrypoint="pipeline.py:pipeline",
        work_pool_name="etrade",
    )
    for automation in YAML(typ="safe").load(AUTOMATIONS)["automations"]:
        automation["trigger"]["within"] = SILENT
        client._client.post("/automations/", json=automation)


class Play:
    """The cluster at work, while its parts are killed one after the other."""

    def __init__(self, cluster: Any, simulator: Simulator, wait_until: Callable[..., None]) -> None:
        token = simulator.sign_in("live")
        self.cluster, self.simulator, self.wait_until = cluster, simulator, wait_until
        self.story = Story(token.issued_at)
        with temporary_settings({PREFECT_API_URL: cluster.url}), get_client(sync_client=True) as client:
            ETradeCredentials.model_validate(simulator.credentials(token)).save("etrade")
            deploy(client)
        for worker in cluster.workers:
            worker.start()

    def go_on(self, until: float) -> Story:
        """Kill the parts in turn, each at least once and until that monotonic time; then end all runs."""
        cluster = self.cluster
        parts = [cluster.workers[0], cluster.servers[0], cluster.services, cluster.redis, cluster.postgres]
        self._works_after(datetime.now(UTC))
        for nth, part in enumerate(cycle(parts)):
            if nth >= len(parts) and time.monotonic() > until:
                break
            self._kill(part)
        self._wind_up()
        return self.story

    def _kill(self, part: Any) -> None:
        began = datetime.now(UTC)
        part.kill()
        time.sleep(DOWN)  # waits for nothing: the part stays down this long
        part.start()
        part.wait()
        ended = datetime.now(UTC)
        self.story.outages.append((part.name, began, ended))
        self._works_after(ended)

    def _works_after(self, moment: datetime) -> None:
        """Wait until E*TRADE has seen a renewal since then, and a pipeline has started and completed."""
        self.wait_until(lambda: self._renewals() and self._renewals()[-1] > moment, seconds=180)
        chosen = {"name": {"any_": ["pipeline"]}}
        completed = {"state": {"type": {"any_": ["COMPLETED"]}}, "start_time": {"after_": moment.isoformat()}}
        asked = {"flows": chosen, "flow_runs": completed}
        self.wait_until(lambda: bool(self._ask("/flow_runs/filter", asked)), seconds=180)

    def _wind_up(self) -> None:
        self.story.ended_at = datetime.now(UTC)
        for deployment in self._ask("/deployments/filter", {}):
            httpx.post(f"{self.cluster.url}/deployments/{deployment['id']}/pause_deployment")
        living = {"flow_runs": {"state": {"type": {"any_": LIVING}}}}
        try:
            self.wait_until(lambda: [] == self._ask("/flow_runs/filter", living), seconds=2 * SILENT)
        finally:
            self.story.renewed_at = self._renewals()
            self.story.runs = self._ask("/flow_runs/filter", {})

    def _ask(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Every page of the API's answer; nothing if it does not answer."""
        found: list[dict[str, Any]] = []
        try:
            while page := self.cluster.ask(path, body | {"offset": len(found)}):
                found += page
        except httpx.HTTPError:
            return []
        return found

    def _renewals(self) -> list[datetime]:
        return [call.at for call in self.simulator.calls(RENEW) if call.status == 200]


@pytest.fixture(scope="module")
def story(cluster_with: Callable[..., Any], wait_until: Callable[..., None]) -> Story:
    """What happened while the parts were killed, each once or for `CLUSTER_MINUTES`."""
    until = time.monotonic() + 60 * float(os.environ.get("CLUSTER_MINUTES", "0"))
    with Simulator() as simulator:
        cluster = cluster_with(ETRADE_REUSE_WINDOW=str(WINDOW.total_seconds()))
        story = Play(cluster, simulator, wait_until).go_on(until)
    print(story.told())  # noqa: T201  # `pytest -s` shows the figures of the guide
    return story


def test_no_token_is_left_idle(story: Story) -> None:
    """Whatever is killed, the token is renewed again within two hours."""
    assert max(story.gaps) < IDLE_LIMIT, story.gaps


def test_one_renewal_is_made_a_window(story: Story) -> None:
    """E*TRADE sees at most one extra renewal per outage of a part that the lock or the record needs."""
    # Without the lock or the record a caller renews anyway: an extra call is better than a dead token.
    # Renewals are dated by E*TRADE's clock, in whole seconds.
    shortest = WINDOW - timedelta(seconds=1)
    gaps = story.gaps[1:-1]
    excused = [name for name, *_ in story.outages if name in {"redis", "postgres", "server-1"}]
    assert len([gap for gap in gaps if gap < shortest]) <= len(excused), list(map(str, gaps))


def test_every_run_tells_how_it_ended(story: Story) -> None:
    """Every run ends, even on a killed machine; most complete, and a failed or crashed one says why."""
    assert [] == [run["name"] for run in story.runs if run["state_type"] in LIVING]
    ends = Counter(run["state_type"] for run in story.runs)
    assert ends["COMPLETED"] > sum(ends[name] for name in ("FAILED", "CRASHED"))
    untold = [run for run in story.runs if run["state_type"] in {"FAILED", "CRASHED"}]
    assert [] == [run["name"] for run in untold if not run["state"]["message"]]
