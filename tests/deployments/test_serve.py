"""One process that serves the flows of the package: the same deployments, and it runs them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from etrade_flows.serving import package_deployments
from etrade_simulator import Simulator

SERVED = [
    "renew-access-token/hourly",
    "renew-access-token/on-demand",
    "sign-in/on-demand",
    "sign-out/on-demand",
]
RUNS = ("name", "description", "tags", "version", "parameters", "enforce_parameter_schema")


@pytest.fixture
def nothing_deployed(client: SyncPrefectClient) -> Iterator[None]:
    """A server that knows none of what is served before the test, nor after it."""

    def forget() -> None:
        for name in SERVED:
            try:
                client.delete_deployment(client.read_deployment_by_name(name).id)
            except ObjectNotFound:
                continue

    forget()
    yield
    forget()


def test_it_serves_the_package_and_no_pipeline() -> None:
    """The program takes every flow of the package from the file, and leaves out what needs the checkout."""
    assert SERVED == [f"{each.flow_name}/{each.name}" for each in package_deployments()]


def test_it_serves_what_the_file_says(configured: dict[str, Any]) -> None:
    """Names, texts, tags, parameters, schedules and limits are those of the file."""
    for wanted, found in zip(configured["deployments"][:4], package_deployments(), strict=True):
        assert wanted["entrypoint"].replace(":", ".") == found.entrypoint
        assert {key: wanted[key] for key in RUNS} == {key: getattr(found, key) for key in RUNS}
        assert [
            (each["slug"], each["cron"], each["timezone"], each.get("day_or", True))
            for each in wanted.get("schedules", [])
        ] == [(e.slug, e.schedule.cron, e.schedule.timezone, e.schedule.day_or) for e in found.schedules]
        assert wanted.get("concurrency_limit", {}).get("limit") == found.concurrency_limit


def test_other_credentials_may_be_given() -> None:
    """All that is served is for the credentials of that name, without an edit of the file."""
    assert {"other"} == {each.parameters["credentials"] for each in package_deployments("other")}


def test_a_strategy_goes_along_with_its_limit() -> None:
    """The served renewal cancels a second run as the deployed one does."""
    hourly = package_deployments()[0]
    options = hourly.concurrency_options
    assert ("CANCEL_NEW", 300) == (options.collision_strategy, options.grace_period_seconds)


@pytest.fixture
def served(
    nothing_deployed: None,
    client: SyncPrefectClient,
    run_process: Callable[..., AbstractContextManager[Any]],
    wait_until: Callable[..., None],
    tmp_path: Path,
) -> Iterator[Any]:
    """The program's process, once it has registered what it serves."""
    program = Path(__file__).resolve().parents[2] / "deployments" / "serve.py"
    with run_process(str(program), log=tmp_path / "log", cwd=tmp_path) as process:
        wait_until(lambda: _is_registered(client), seconds=60)
        yield process


@pytest.mark.usefixtures("served")
def test_it_runs_a_scheduled_renewal_without_a_worker(
    run_now: Callable[..., UUID], end_state: Callable[[UUID], Any], simulator: Simulator, block: str
) -> None:
    """The program runs what is scheduled, with one call to E*TRADE, wherever it was started."""
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
    """A sign-in waits in a process of its own: a renewal runs meanwhile, and the person's answer ends it."""
    waiting = run_now("sign-in/on-demand", credentials=block)
    wait_until(lambda: person.waits() is not None, seconds=90)
    assert end_state(run_now("renew-access-token/on-demand", credentials=block)).is_completed()
    person.answers()
    assert "SignedIn" == end_state(waiting).name


def test_it_leaves_its_schedules_on(
    served: Any, client: SyncPrefectClient, wait_until: Callable[..., None]
) -> None:
    """At the end nothing is paused, so that the next start renews again."""
    served.send_signal(signal.SIGINT)
    wait_until(lambda: served.poll() is not None, seconds=20)
    found = client.read_deployment_by_name("renew-access-token/hourly")
    assert (False, [True, True]) == (found.paused, [each.active for each in found.schedules])


def _is_registered(client: SyncPrefectClient) -> bool:
    try:
        client.read_deployment_by_name(SERVED[-1])
    except ObjectNotFound:
        return False
    return True
