"""Whether the doctor sees that people are told, and can sign in in the Prefect UI."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate

from etrade_flows.health.deployment import check_alerts, check_sign_in
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.health.place import Place, Server
from etrade_flows.news.automations import NAMES

POOL, LABEL = "doctor-people", "people"


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    """A client of the test's server."""
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def installed(client: SyncPrefectClient, run: Callable[..., int]) -> Iterator[None]:
    """The automations, as the command installs them."""
    CustomWebhookNotificationBlock(name="people", url="http://127.0.0.1:9/").save("people", overwrite=True)
    assert 0 == run("alerts", "--notify", "custom-webhook/people")
    yield
    delete_all(client)


def delete_all(client: SyncPrefectClient) -> None:
    for automation in client.read_automations():
        client.delete_automation(automation.id)


@pytest.fixture
def deploy_sign_in(client: SyncPrefectClient) -> Iterator[Callable[[], None]]:
    """Deploys the flow `sign-in` to a work pool of the test's own."""
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    made = []

    def deploy() -> None:
        flow = client.create_flow_from_name("sign-in")
        made.append(client.create_deployment(flow, LABEL, work_pool_name=POOL))

    yield deploy
    for each in made:
        client.delete_deployment(each)
    client.delete_work_pool(POOL)


def test_nobody_to_tell_is_a_warning(client: SyncPrefectClient) -> None:
    """Without any of the automations the command that installs them is named."""
    delete_all(client)
    finding = check_alerts(Facts("main"))
    assert (Health.WARNING, True) == (finding.verdict, "etrade-session alerts" in finding.remedy)


@pytest.mark.usefixtures("installed")
def test_installed_alerts_are_ok() -> None:
    """What the program installs is what the doctor looks for."""
    assert Health.OK is check_alerts(Facts("main")).verdict


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", NAMES.values())
def test_alert_that_is_missing_is_named(client: SyncPrefectClient, name: str) -> None:
    """One automation that somebody has deleted is told by its name."""
    client.delete_automation(client.read_automations_by_name(name)[0].id)
    finding = check_alerts(Facts("main"))
    assert (Health.WARNING, True) == (finding.verdict, f"missing: `{name}`." in finding.says)


@pytest.mark.usefixtures("installed")
def test_alert_that_is_off_is_named(client: SyncPrefectClient) -> None:
    """One automation that somebody has paused is told by its name, with the screen that switches it on."""
    name = next(iter(NAMES.values()))
    client.pause_automation(client.read_automations_by_name(name)[0].id)
    finding = check_alerts(Facts("main"))
    assert (Health.WARNING, f"Switched off: `{name}`.") == (finding.verdict, finding.says)
    assert "Prefect UI (Automations)" in finding.remedy


def test_sign_in_that_is_not_deployed_is_a_warning(prefect_server: None) -> None:
    """Without the deployment both ways to deploy are the remedy, and the other way to sign in is told."""
    facts = Facts("main")
    facts.sign_ins = []
    finding = check_sign_in(facts)
    assert (Health.WARNING, True) == (finding.verdict, "etrade-session login" in finding.says)
    assert "prefect --no-prompt deploy --all" in finding.remedy


def test_sign_in_without_a_worker_is_a_warning(deploy_sign_in: Callable[[], None]) -> None:
    """A deployment whose runs nothing starts is told with the command that starts a worker."""
    deploy_sign_in()
    facts = Facts("main")
    facts.sign_ins = [each for each in facts.sign_ins if each.name == LABEL]
    finding = check_sign_in(facts)
    assert (Health.WARNING, f"prefect worker start --pool {POOL}") == (finding.verdict, finding.remedy)
    assert f"sign-in/{LABEL} does not run" in finding.says


def test_sign_in_with_a_worker_is_ok(client: SyncPrefectClient, deploy_sign_in: Callable[[], None]) -> None:
    """A deployment with a worker alive is told by its name."""
    deploy_sign_in()
    client.send_worker_heartbeat(POOL, "fake-host-name", heartbeat_interval_seconds=30)
    finding = check_sign_in(Facts("main"))
    assert (Health.OK, True) == (finding.verdict, f"sign-in/{LABEL}" in finding.says)
    assert "fake-host-name" not in finding.says


@pytest.mark.parametrize("check", [check_alerts, check_sign_in])
def test_temporary_server_is_not_looked_at(check: Callable[[Facts], object]) -> None:
    """A server that ends with the command tells nobody and runs nothing."""
    facts = Facts("main")
    facts.server = Server(Place.TEMPORARY)
    with pytest.raises(SkipCheck):
        check(facts)
