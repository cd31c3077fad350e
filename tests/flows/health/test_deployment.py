"""Whether the doctor sees what renews by schedule, and whether anything alive runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.schedules import CronSchedule

from etrade_flows.health.deployment import check_deployment, check_schedule, check_worker
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.runs.names import RENEWAL

HOURLY = CronSchedule(cron="0 1-23 * * *", timezone="America/New_York")
REPEATED_HOUR = CronSchedule(cron="0 6 1-7 11 0", day_or=False, timezone="UTC")


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the test's server."""
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Credentials that no other test's deployment renews."""
    return f"doctor-{tmp_path.name.replace('_', '-')}".lower()[:60]


Deploy = Callable[..., str]


@pytest.fixture
def deploy(client: SyncPrefectClient, name: str) -> Iterator[Deploy]:
    """Deploys the renewal by a schedule, until the test is over; gives the deployment's name."""
    made = []

    def make(
        *schedules: CronSchedule, label: str = "", active: bool = True, paused: bool = False, **changes: Any
    ) -> str:
        each = [DeploymentScheduleCreate(schedule=schedule, active=active) for schedule in schedules]
        options = {"parameters": {"credentials": name}, "schedules": each} | changes
        label = f"{name}{label}"
        made.append(client.create_deployment(client.create_flow_from_name(RENEWAL), label, **options))
        if paused:
            client.pause_deployment(made[-1])
        return label

    yield make
    for each in made:
        client.delete_deployment(each)


@contextmanager
def work_pool(client: SyncPrefectClient, name: str, kind: str = "process") -> Iterator[str]:
    """A work pool that is there for a while."""
    client.create_work_pool(WorkPoolCreate(name=name, type=kind))
    try:
        yield name
    finally:
        client.delete_work_pool(name)


def test_flow_that_is_not_deployed_is_a_problem(prefect_server: None, name: str) -> None:
    """Without any deployment of the flow, both ways to deploy are the remedy."""
    facts = Facts(name)
    facts.deployments = []
    finding = check_deployment(facts)
    assert Health.PROBLEM is finding.verdict
    assert "prefect --no-prompt deploy --all" in finding.remedy
    for check in (check_worker, check_schedule):
        with pytest.raises(SkipCheck):
            check(facts)


def test_deployment_for_other_credentials_does_not_count(deploy: Deploy, name: str) -> None:
    """A deployment that renews other credentials is none for these, and the line to edit is told."""
    deploy(HOURLY, parameters={"credentials": "others"})
    finding = check_deployment(Facts(name))
    assert Health.PROBLEM is finding.verdict
    assert f"credentials: &credentials {name}" in finding.remedy
    assert f"serve --credentials {name}`" in finding.remedy


def test_scheduled_deployment_is_ok(deploy: Deploy, name: str) -> None:
    """A deployment with an active schedule for these credentials is told by its name."""
    label = deploy(HOURLY)
    finding = check_deployment(Facts(name))
    assert (Health.OK, True) == (finding.verdict, f"renew-access-token/{label}" in finding.says)


def test_parameters_of_a_schedule_come_first(client: SyncPrefectClient, deploy: Deploy, name: str) -> None:
    """A schedule that names other credentials than its deployment renews those."""
    own = DeploymentScheduleCreate(schedule=HOURLY, parameters={"credentials": name})
    deploy(schedules=[own], parameters={"credentials": "others"})
    assert Health.OK is check_deployment(Facts(name)).verdict


def test_deployment_without_a_name_renews_the_default(deploy: Deploy) -> None:
    """Where neither schedule nor deployment names credentials, the flow renews `etrade`."""
    label = deploy(HOURLY, parameters={})
    assert f"renew-access-token/{label}" in check_deployment(Facts("etrade")).says


@pytest.mark.parametrize("how", [{"paused": True}, {"active": False}], ids=["deployment", "schedule"])
def test_paused_deployment_is_a_problem(deploy: Deploy, name: str, how: dict[str, bool]) -> None:
    """A deployment or a schedule that is switched off is told with the screen that switches it on."""
    label = deploy(HOURLY, **how)
    finding = check_deployment(Facts(name))
    assert Health.PROBLEM is finding.verdict
    assert "paused" in finding.says
    assert f"Prefect UI (Deployments > renew-access-token/{label}" in finding.remedy


def test_pool_without_a_worker_is_a_problem(client: SyncPrefectClient, deploy: Deploy, name: str) -> None:
    """A deployment whose work pool has no worker alive is told with the command that starts one."""
    with work_pool(client, name):
        deploy(HOURLY, work_pool_name=name)
        finding = check_worker(Facts(name))
    assert (Health.PROBLEM, f"prefect worker start --pool {name}") == (finding.verdict, finding.remedy)


def test_worker_that_beats_is_alive(client: SyncPrefectClient, deploy: Deploy, name: str) -> None:
    """A worker whose heartbeat has come runs the deployment; its name, which may be a host's, is not told."""
    with work_pool(client, name):
        deploy(HOURLY, work_pool_name=name)
        client.send_worker_heartbeat(name, "fake-host-name", heartbeat_interval_seconds=30)
        finding = check_worker(Facts(name))
    assert Health.OK is finding.verdict
    assert "fake-host-name" not in finding.says


def test_paused_pool_is_a_problem(client: SyncPrefectClient, deploy: Deploy, name: str) -> None:
    """A work pool that is paused is told, though its worker is alive."""
    with work_pool(client, name):
        deploy(HOURLY, work_pool_name=name)
        client.send_worker_heartbeat(name, "worker", heartbeat_interval_seconds=30)
        client.update_work_pool(name, WorkPoolUpdate(is_paused=True))
        finding = check_worker(Facts(name))
    assert (Health.PROBLEM, f"prefect work-pool resume {name}") == (finding.verdict, finding.remedy)


def test_managed_pool_needs_no_worker(client: SyncPrefectClient, deploy: Deploy, name: str) -> None:
    """A pool that starts a container for each run has no worker to be alive."""
    with work_pool(client, name, kind="prefect:managed"):
        deploy(HOURLY, work_pool_name=name)
        assert Health.OK is check_worker(Facts(name)).verdict


def test_served_deployment_is_alive_while_its_process_asks(
    client: SyncPrefectClient, deploy: Deploy, name: str
) -> None:
    """A deployment without a pool is dead until the process that serves it has asked for its runs."""
    label = deploy(HOURLY)
    before = check_worker(Facts(name))
    deployment = client.read_deployment_by_name(f"{RENEWAL}/{label}")
    client.get_scheduled_flow_runs_for_deployments([deployment.id], scheduled_before=datetime.now(UTC))
    assert (Health.PROBLEM, f"run `etrade-session serve --credentials {name}`.") == (
        before.verdict,
        before.remedy,
    )
    assert Health.OK is check_worker(Facts(name)).verdict


def test_schedules_of_all_deployments_count(deploy: Deploy, name: str) -> None:
    """The hourly cron is unsafe when clocks go back, and safe beside a deployment that adds the hour."""
    deploy(HOURLY)
    alone = check_schedule(Facts(name))
    deploy(REPEATED_HOUR, label="-repeated")
    assert (Health.PROBLEM, True) == (alone.verdict, "120 min" in alone.says)
    assert Health.OK is check_schedule(Facts(name)).verdict


def test_longer_reuse_window_makes_the_schedule_unsafe(
    deploy: Deploy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reuse window of an hour an hourly schedule is too rare."""
    deploy(HOURLY, REPEATED_HOUR)
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "PT60M")
    finding = check_schedule(Facts(name))
    assert (Health.PROBLEM, True) == (finding.verdict, "ETRADE_REUSE_WINDOW" in finding.remedy)
