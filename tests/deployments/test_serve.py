"""`etrade-session serve`: one process that registers the package's deployments and runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from etrade_flows.cli.serving import package_deployments, serve
from etrade_simulator import Simulator

SERVED = [
    "renew-access-token/hourly",
    "renew-access-token/on-demand",
    "sign-in/sign-in",
    "sign-out/sign-out",
]
HOURLY = SERVED[0]
RUNS = ("name", "description", "tags", "parameters", "enforce_parameter_schema")


def test_it_serves_what_the_file_says(configured: dict[str, Any]) -> None:
    """It serves the flows of the package as the file describes them, and no pipeline."""
    assert SERVED == [f"{each.flow_name}/{each.name}" for each in package_deployments()]
    for wanted, found in zip(configured["deployments"][:4], package_deployments(), strict=True):
        assert wanted["entrypoint"].replace(":", ".") == found.entrypoint
        assert version("prefect-etrade") == found.version
        assert {key: wanted[key] for key in RUNS} == {key: getattr(found, key) for key in RUNS}
        assert [
            (each["slug"], each["cron"], each["timezone"], each.get("day_or", True))
            for each in wanted.get("schedules", [])
        ] == [(e.slug, e.schedule.cron, e.schedule.timezone, e.schedule.day_or) for e in found.schedules]
        limit, options = wanted.get("concurrency_limit", {}), found.concurrency_options
        assert limit.get("limit") == found.concurrency_limit
        assert limit.get("collision_strategy") == (options and options.collision_strategy)
        assert limit.get("grace_period_seconds") == (options and options.grace_period_seconds)


def test_other_credentials_have_deployments_of_their_own() -> None:
    """Deployments of another account than the file's are named after it, and have the same schedules."""
    first, second = package_deployments(), package_deployments("second")
    assert SERVED == [f"{each.flow_name}/{each.name}" for each in package_deployments("etrade")]
    assert [f"{name}-second" for name in SERVED] == [f"{each.flow_name}/{each.name}" for each in second]
    assert {"second"} == {each.parameters["credentials"] for each in second}
    assert [each.schedules for each in first] == [each.schedules for each in second]
    assert 'run_deployment("renew-access-token/on-demand-second", parameters={"credentials": "second"})' in (
        second[1].description
    )


def delete(client: SyncPrefectClient, *accounts: str) -> None:
    """Remove the served deployments of these accounts from the server."""
    for name in SERVED:
        with suppress(ObjectNotFound):
            client.delete_deployment(client.read_deployment_by_name("-".join([name, *accounts])).id)


def last_registered(client: SyncPrefectClient, *accounts: str) -> object:
    """When the last of the served deployments was written; None while there is none."""
    try:
        return client.read_deployment_by_name("-".join([SERVED[-1], *accounts])).updated
    except ObjectNotFound:
        return None


Start = Callable[..., AbstractContextManager[Path]]


@pytest.fixture(scope="module")
def started(run_process: Any, wait_until: Any, tmp_path_factory: Any) -> Start:
    """Runs `etrade-session serve` and returns its log, once it has registered the accounts' deployments."""

    @contextmanager
    def start(*accounts: str) -> Iterator[Path]:
        command = ("-m", "etrade_flows.cli.app", "serve", *accounts)
        with get_client(sync_client=True) as client:
            before = last_registered(client, *accounts)
            with run_process(*command, cwd=tmp_path_factory.mktemp("serve")) as log:
                wait_until(lambda: last_registered(client, *accounts) != before, seconds=60)
                yield log

    return start


@pytest.fixture(scope="module")
def served(started: Start) -> Iterator[Path]:
    """The log of `etrade-session serve`, on a server that had its deployments in a work pool."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="before", type="process"), overwrite=True)
        for each in package_deployments():
            each.work_pool_name = "before"
            each.apply()
        with started() as log:
            yield log
        delete(client)


def test_it_says_where_it_serves(served: Path) -> None:
    """The first line of output names the Prefect server, and the address where people see it."""
    address = get_current_settings().api.url
    said, *_ = served.read_text().splitlines()
    assert f"Serving on the Prefect server at {address}, which people see at {address[:-4]}." == said


@pytest.mark.usefixtures("served")
def test_it_runs_a_scheduled_renewal_without_a_worker(
    client: SyncPrefectClient,
    run_now: Callable[..., UUID],
    end_state: Callable[[UUID], Any],
    simulator: Simulator,
    block: str,
) -> None:
    """`serve` takes a deployment out of its work pool and runs it itself, with one call to E*TRADE."""
    for name in SERVED:
        found = client.read_deployment_by_name(name)
        assert (None, None) == (found.work_pool_name, found.work_queue_id)
    run = run_now(HOURLY, credentials=block)
    assert client.read_flow_run(run).work_queue_id is None
    assert end_state(run).is_completed()
    assert 1 == len(simulator.calls("/oauth/renew_access_token"))


@pytest.mark.usefixtures("served")
def test_it_signs_in_while_it_renews(
    run_now: Callable[..., UUID],
    end_state: Callable[[UUID], Any],
    wait_until: Callable[..., None],
    block: str,
    person: Any,
) -> None:
    """While a sign-in waits for its person, a renewal runs; then the person's answer ends the sign-in."""
    waiting = run_now("sign-in/sign-in", credentials=block)
    wait_until(lambda: person.waits() is not None, seconds=90)
    assert end_state(run_now("renew-access-token/on-demand", credentials=block)).is_completed()
    person.answers()
    assert end_state(waiting).is_completed()


@pytest.fixture
def restart(monkeypatch: pytest.MonkeyPatch, client: SyncPrefectClient) -> Iterator[Callable[..., None]]:
    """Registers deployments as a start of `serve` does, and runs nothing; forgets the account `second`."""

    def register(*deployments: RunnerDeployment, pause_on_shutdown: bool) -> None:
        for each in deployments:
            each.apply()

    monkeypatch.setattr("etrade_flows.cli.serving.run_until_interrupted", register)
    yield serve
    delete(client, "second")


def test_a_restart_switches_nothing_on_or_off(
    client: SyncPrefectClient, started: Start, restart: Callable[..., None]
) -> None:
    """A stop pauses nothing, and a restart keeps a pause and schedules switched off, edited or added."""
    with started("second"):
        pass
    served = client.read_deployment_by_name(f"{HOURLY}-second")
    assert (False, [True, True]) == (served.paused, [each.active for each in served.schedules])
    off, edited = served.schedules
    client.update_deployment_schedule(served.id, off.id, active=False)
    client.update_deployment_schedule(served.id, edited.id, schedule=CronSchedule(cron="5 * * * *"))
    client.create_deployment_schedules(served.id, [(CronSchedule(cron="7 * * * *"), False)])
    client.pause_deployment(served.id)
    before = client.read_deployment(served.id)
    restart(["second"])
    after = client.read_deployment(served.id)
    assert after.paused
    assert told(before) == told(after)


def told(deployment: DeploymentResponse) -> list[tuple[str | None, bool, object]]:
    """Each schedule as an operator sees it, sorted."""
    return sorted(((each.slug, each.active, each.schedule) for each in deployment.schedules), key=repr)


def test_a_deployment_without_a_schedule_gets_the_schedules(
    client: SyncPrefectClient, restart: Callable[..., None]
) -> None:
    """If a deployment has no schedule, a start registers those of the file."""
    hourly = package_deployments("second")[0]
    wanted, hourly.schedules = len(hourly.schedules), []
    hourly.apply()
    restart(["second"])
    assert wanted == len(client.read_deployment_by_name(f"{HOURLY}-second").schedules)
