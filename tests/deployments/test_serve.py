"""`etrade-session serve`: one process that registers the package's deployments and runs them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from etrade_flows.cli.serving import package_deployments
from etrade_simulator import Simulator
from prefect_etrade import ETradeCredentials

SERVED = [
    "renew-access-token/hourly",
    "renew-access-token/on-demand",
    "sign-in/sign-in",
    "sign-out/sign-out",
]
HOURLY = SERVED[0]
RUNS = ("name", "description", "tags", "parameters", "enforce_parameter_schema")


@pytest.fixture
def nothing_deployed(client: SyncPrefectClient) -> Iterator[None]:
    """Removes every served deployment from the server, before and after the test."""

    def forget() -> None:
        for name in [*SERVED, *(f"{name}-second" for name in SERVED)]:
            try:
                client.delete_deployment(client.read_deployment_by_name(name).id)
            except ObjectNotFound:
                continue

    forget()
    yield
    forget()


def test_it_serves_the_package_and_no_pipeline() -> None:
    """`serve` takes every flow of the package from the file, and leaves out what needs the checkout."""
    assert SERVED == [f"{each.flow_name}/{each.name}" for each in package_deployments()]


def test_it_serves_what_the_file_says(configured: dict[str, Any]) -> None:
    """Names, descriptions, tags, parameters, schedules and limits are those of the file."""
    for wanted, found in zip(configured["deployments"][:4], package_deployments(), strict=True):
        assert wanted["entrypoint"].replace(":", ".") == found.entrypoint
        assert version("prefect-etrade") == found.version
        assert {key: wanted[key] for key in RUNS} == {key: getattr(found, key) for key in RUNS}
        assert [
            (each["slug"], each["cron"], each["timezone"], each.get("day_or", True))
            for each in wanted.get("schedules", [])
        ] == [(e.slug, e.schedule.cron, e.schedule.timezone, e.schedule.day_or) for e in found.schedules]
        assert wanted.get("concurrency_limit", {}).get("limit") == found.concurrency_limit


def test_other_credentials_have_deployments_of_their_own() -> None:
    """The deployments of another account are named after it and have the same schedules."""
    first, second = package_deployments(), package_deployments("second")
    assert [f"{name}-second" for name in SERVED] == [f"{each.flow_name}/{each.name}" for each in second]
    assert {"second"} == {each.parameters["credentials"] for each in second}
    assert [each.schedules for each in first] == [each.schedules for each in second]
    assert 'run_deployment("renew-access-token/on-demand-second", parameters={"credentials": "second"})' in (
        second[1].description
    )


def test_account_of_the_file_is_the_first() -> None:
    """Naming the account that the file names serves the same deployments as naming none."""
    assert SERVED == [f"{each.flow_name}/{each.name}" for each in package_deployments("etrade")]


def test_a_strategy_goes_along_with_its_limit() -> None:
    """The served renewal cancels a second run as the deployed one does."""
    hourly = package_deployments()[0]
    options = hourly.concurrency_options
    assert ("CANCEL_NEW", 300) == (options.collision_strategy, options.grace_period_seconds)


@pytest.fixture
def started(
    client: SyncPrefectClient,
    run_process: Callable[..., AbstractContextManager[Any]],
    wait_until: Callable[..., None],
    tmp_path: Path,
) -> Callable[..., AbstractContextManager[Any]]:
    """Starts `etrade-session serve` for these accounts, and waits until all deployments are registered."""
    command = ("-m", "etrade_flows.cli.app", "serve")

    @contextmanager
    def start(*accounts: str) -> Iterator[Any]:
        last = "-".join([SERVED[-1], *accounts])
        before = _last_registered(client, last)
        with run_process(
            *command, *accounts, log=tmp_path / "-".join(["log", *accounts]), cwd=tmp_path
        ) as process:
            wait_until(lambda: _last_registered(client, last) != before, seconds=60)
            yield process

    return start


@pytest.fixture
def served(nothing_deployed: None, started: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
    """The process of `etrade-session serve`, on a server that had none of its deployments."""
    with started() as process:
        yield process


@pytest.mark.usefixtures("served")
def test_it_says_where_it_serves(tmp_path: Path) -> None:
    """The first line of output names the Prefect server, and the address where people see it."""
    address = get_current_settings().api.url
    said, *_ = (tmp_path / "log").read_text().splitlines()
    assert f"Serving on the Prefect server at {address}, which people see at {address[:-4]}." == said


@pytest.mark.usefixtures("served")
def test_it_runs_a_scheduled_renewal_without_a_worker(
    run_now: Callable[..., UUID], end_state: Callable[[UUID], Any], simulator: Simulator, block: str
) -> None:
    """`serve` runs a scheduled renewal without a worker, with one call to E*TRADE."""
    assert end_state(run_now("renew-access-token/hourly", credentials=block)).is_completed()
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


def test_it_leaves_its_schedules_on(
    served: Any, client: SyncPrefectClient, wait_until: Callable[..., None]
) -> None:
    """When `serve` stops, it pauses nothing, so the next start renews again."""
    served.send_signal(signal.SIGINT)
    wait_until(lambda: served.poll() is not None, seconds=60)
    found = client.read_deployment_by_name(HOURLY)
    assert (False, [True, True]) == (found.paused, [each.active for each in found.schedules])


@pytest.mark.usefixtures("nothing_deployed")
def test_a_restart_switches_nothing_on(
    client: SyncPrefectClient, started: Callable[[], AbstractContextManager[Any]]
) -> None:
    """A restart keeps a pause, and schedules that were switched off, edited or added without a slug."""
    with started():
        served = client.read_deployment_by_name(HOURLY)
    off, edited = served.schedules
    client.update_deployment_schedule(served.id, off.id, active=False)
    client.update_deployment_schedule(served.id, edited.id, schedule=CronSchedule(cron="5 * * * *"))
    client.create_deployment_schedules(served.id, [(CronSchedule(cron="7 * * * *"), False)])
    client.pause_deployment(served.id)
    before = client.read_deployment_by_name(HOURLY)
    with started():
        after = client.read_deployment_by_name(HOURLY)
    assert after.paused
    assert _told(before) == _told(after)


@pytest.mark.usefixtures("nothing_deployed")
def test_a_deployment_without_a_schedule_gets_the_schedules(
    client: SyncPrefectClient, started: Callable[[], AbstractContextManager[Any]]
) -> None:
    """If a deployment has no schedule, a start registers those of the file."""
    hourly = package_deployments()[0]
    wanted, hourly.schedules = len(hourly.schedules), []
    hourly.apply()
    with started():
        assert wanted == len(client.read_deployment_by_name(HOURLY).schedules)


@pytest.fixture
def in_a_work_pool(
    deployed: str, nothing_deployed: None, prefect: Callable[..., str], client: SyncPrefectClient
) -> None:
    """Puts every deployment into a work pool with `prefect deploy`."""
    prefect("--no-prompt", "deploy", "--all")
    assert {"etrade"} == {client.read_deployment_by_name(name).work_pool_name for name in SERVED}


@pytest.fixture
def two_accounts(simulator: Simulator, credentials_for: Callable[..., ETradeCredentials]) -> None:
    """Saves a block for each of two accounts, both signed in."""
    for name in ("etrade", "second"):
        credentials_for(simulator.sign_in("live")).save(name, overwrite=True)


@pytest.mark.usefixtures("nothing_deployed", "two_accounts")
def test_two_accounts_are_served_side_by_side(
    client: SyncPrefectClient,
    started: Callable[..., AbstractContextManager[Any]],
    run_now: Callable[..., UUID],
    end_state: Callable[[UUID], Any],
    simulator: Simulator,
) -> None:
    """Two processes each serve their own account with its own schedules, without disturbing each other."""
    with started(), started("second"):
        found = [client.read_deployment_by_name(name) for name in (HOURLY, f"{HOURLY}-second")]
        assert ["etrade", "second"] == [each.parameters["credentials"] for each in found]
        assert [[True, True]] * 2 == [[one.active for one in each.schedules] for each in found]
        runs = [run_now(f"renew-access-token/{each.name}") for each in found]
        assert [True, True] == [end_state(run).is_completed() for run in runs]
    assert 2 == len(simulator.calls("/oauth/renew_access_token"))


@pytest.mark.usefixtures("in_a_work_pool")
def test_it_takes_a_deployment_out_of_its_work_pool(
    client: SyncPrefectClient,
    started: Callable[[], AbstractContextManager[Any]],
    run_now: Callable[..., UUID],
    end_state: Callable[[UUID], Any],
    block: str,
) -> None:
    """`serve` takes a deployment out of its work pool and runs it itself: no worker finds its runs."""
    with started():
        for name in SERVED:
            found = client.read_deployment_by_name(name)
            assert (None, None) == (found.work_pool_name, found.work_queue_id)
        run = run_now(HOURLY, credentials=block)
        assert client.read_flow_run(run).work_queue_id is None
        assert end_state(run).is_completed()


def _told(deployment: DeploymentResponse) -> list[tuple[str | None, bool, object]]:
    """Each schedule as an operator sees it, sorted."""
    return sorted(((each.slug, each.active, each.schedule) for each in deployment.schedules), key=repr)


def _last_registered(client: SyncPrefectClient, last: str) -> object:
    """When the deployment with this name was last written; None while there is none."""
    try:
        return client.read_deployment_by_name(last).updated
    except ObjectNotFound:
        return None
