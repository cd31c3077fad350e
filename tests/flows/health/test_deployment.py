"""Whether the doctor finds what renews on schedule, what runs it, and what people need to sign in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.schedules import CronSchedule

from etrade_flows.health.deployment import (
    check_alerts,
    check_deployment,
    check_schedule,
    check_sign_in,
    check_worker,
)
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.health.place import Place, Server
from etrade_flows.news.automations import NOTIFIERS
from etrade_flows.runs.names import RENEWAL

from .expecting import expect

HOURLY = CronSchedule(cron="0 1-23 * * *", timezone="America/New_York")
REPEATED_HOUR = CronSchedule(cron="0 6 1-7 11 0", day_or=False, timezone="UTC")


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the test's server."""
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A name of credentials that no other test's deployment renews."""
    return f"doctor-{tmp_path.name.replace('_', '-')}".lower()[:60]


Deploy = Callable[..., str]


@pytest.fixture
def deploy(client: SyncPrefectClient, name: str) -> Iterator[Deploy]:
    """Deploys the renewal on a schedule until the test ends; returns the deployment's name."""
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
    """A work pool that is deleted afterwards."""
    client.create_work_pool(WorkPoolCreate(name=name, type=kind))
    try:
        yield name
    finally:
        client.delete_work_pool(name)


def test_flow_that_is_not_deployed_is_a_problem(prefect_server: None, name: str) -> None:
    """If the flow has no deployment, the remedy names both ways to deploy it."""
    facts = Facts(name)
    facts.deployments = []
    expect(check_deployment(facts), Health.PROBLEM, remedy="prefect --no-prompt deploy --all")
    for check in (check_worker, check_schedule):
        with pytest.raises(SkipCheck):
            check(facts)


@pytest.mark.essential
def test_deployment_counts_for_the_credentials_that_it_renews(deploy: Deploy, name: str) -> None:
    """A deployment is ok for the credentials of its schedule, else for its own, else for `etrade`."""
    label = deploy(HOURLY, parameters={})
    expect(check_deployment(Facts("etrade")), Health.OK, says=f"renew-access-token/{label}")
    others = {"credentials": "others"}
    deploy(HOURLY, label="-others", parameters=others)
    remedy = f"serve --credentials {name}`, which does not change other accounts"
    expect(check_deployment(Facts(name)), Health.PROBLEM, remedy=remedy)
    own = DeploymentScheduleCreate(schedule=HOURLY, parameters={"credentials": name})
    label = deploy(label="-own", schedules=[own], parameters=others)
    expect(check_deployment(Facts(name)), Health.OK, says=f"schedule: renew-access-token/{label}.")


@pytest.mark.parametrize("how", [{"paused": True}, {"active": False}], ids=["deployment", "schedule"])
def test_paused_deployment_is_a_problem(deploy: Deploy, name: str, how: dict[str, bool]) -> None:
    """A deployment or schedule that is off is a problem, and the remedy names the page that turns it on."""
    label = deploy(HOURLY, **how)
    remedy = f"Prefect UI (Deployments > renew-access-token/{label}"
    expect(check_deployment(Facts(name)), Health.PROBLEM, says="paused", remedy=remedy)


@pytest.mark.parametrize(
    ("kind", "alive", "paused", "remedy"),
    [
        pytest.param("process", False, False, "prefect worker start --pool {}", id="no worker"),
        pytest.param("process", True, False, "", id="a worker"),
        pytest.param("process", True, True, "prefect work-pool resume {}", id="paused"),
        pytest.param("prefect:managed", False, False, "", id="a pool that needs no worker"),
    ],
)
def test_worker_is_looked_for(
    client: SyncPrefectClient, deploy: Deploy, name: str, *, kind: str, alive: bool, paused: bool, remedy: str
) -> None:
    """A pool can run deployments if it needs no worker or has a live one; the finding shows no host name."""
    with work_pool(client, name, kind):
        deploy(HOURLY, work_pool_name=name)
        if alive:
            client.send_worker_heartbeat(name, "fake-host-name", heartbeat_interval_seconds=30)
        if paused:
            client.update_work_pool(name, WorkPoolUpdate(is_paused=True))
        finding = check_worker(Facts(name))
    verdict = Health.PROBLEM if remedy else Health.OK
    assert (verdict, remedy.format(name)) == (finding.verdict, finding.remedy)
    assert "fake-host-name" not in finding.says


def test_served_deployment_is_alive_while_its_process_asks(
    client: SyncPrefectClient, deploy: Deploy, name: str, wait_until: Callable[..., None]
) -> None:
    """A deployment without a pool counts as dead until the process that serves it asks for its runs."""
    label = deploy(HOURLY)
    remedy = f"run `etrade-session serve --credentials {name}`."
    expect(check_worker(Facts(name)), Health.PROBLEM, remedy=remedy)
    deployment = client.read_deployment_by_name(f"{RENEWAL}/{label}")
    client.get_scheduled_flow_runs_for_deployments([deployment.id], scheduled_before=datetime.now(UTC))
    # The server answers before it notes who asked.
    wait_until(lambda: check_worker(Facts(name)).verdict is Health.OK, seconds=30)


def test_all_schedules_and_the_reuse_window_count(
    deploy: Deploy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hourly cron is safe only with a run for the repeated hour, and a reuse window under an hour."""
    deploy(HOURLY)
    expect(check_schedule(Facts(name)), Health.PROBLEM, says="120 min")
    deploy(REPEATED_HOUR, label="-repeated")
    expect(check_schedule(Facts(name)), Health.OK)
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "PT60M")
    expect(check_schedule(Facts(name)), Health.PROBLEM, remedy="ETRADE_REUSE_WINDOW")


# What people need to sign in ----------------------------------------------------------------------------


def test_alerts_that_are_off_or_missing_are_named(client: SyncPrefectClient, run: Callable[..., int]) -> None:
    """The doctor looks for the automations that the command installs, and names any that is off or gone."""
    CustomWebhookNotificationBlock(name="people", url="http://127.0.0.1:9/").save("people", overwrite=True)
    assert 0 == run("alerts", "--notify", "custom-webhook/people")
    expect(check_alerts(Facts("main")), Health.OK)
    ids = [client.read_automations_by_name(name)[0].id for name in NOTIFIERS]
    client.pause_automation(ids[0])
    off = f"Switched off: `{NOTIFIERS[0]}`."
    expect(check_alerts(Facts("main")), Health.WARNING, says=off, remedy="Prefect UI (Automations)")
    for number, each in enumerate(ids[:-1], 1):
        client.delete_automation(each)
        gone = ", ".join(f"`{name}`" for name in NOTIFIERS[:number])
        expect(check_alerts(Facts("main")), Health.WARNING, says=f"missing: {gone}.")
    client.delete_automation(ids[-1])
    nobody = "Nobody is notified"
    expect(check_alerts(Facts("main")), Health.WARNING, says=nobody, remedy="etrade-session alerts")


def test_sign_in_that_is_not_deployed_is_a_warning(prefect_server: None) -> None:
    """Without a deployment, the remedy names both ways to deploy, and the finding another way to sign in."""
    facts = Facts("main")
    facts.sign_ins = []
    remedy = "prefect --no-prompt deploy --all"
    expect(check_sign_in(facts), Health.WARNING, says="etrade-session login", remedy=remedy)


def test_sign_in_needs_a_worker(client: SyncPrefectClient, name: str) -> None:
    """A deployment that no worker runs is named with the command that starts one; with a worker it is ok."""
    facts = Facts("main")
    with work_pool(client, name):
        made = client.create_deployment(client.create_flow_from_name("sign-in"), name, work_pool_name=name)
        facts.sign_ins = [client.read_deployment(made)]
        start, waits = f"prefect worker start --pool {name}", f"sign-in/{name} does not run"
        expect(check_sign_in(facts), Health.WARNING, says=waits, remedy=start)
        client.send_worker_heartbeat(name, "fake-host-name", heartbeat_interval_seconds=30)
        finding = check_sign_in(Facts("main"))
        client.delete_deployment(made)
    expect(finding, Health.OK, says=f"sign-in/{name}")
    assert "fake-host-name" not in finding.says


@pytest.mark.parametrize("check", [check_alerts, check_deployment, check_sign_in])
def test_temporary_server_is_not_looked_at(check: Callable[[Facts], object]) -> None:
    """The doctor skips these checks for a server that ends with the command."""
    facts = Facts("main")
    facts.server = Server(Place.TEMPORARY)
    with pytest.raises(SkipCheck, match="runs no deployment"):
        check(facts)
