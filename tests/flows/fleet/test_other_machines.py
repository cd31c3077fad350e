"""The flow `renew-fleet` on a Dask cluster of other processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from etrade_flows import renew_fleet
from etrade_simulator import Simulator
from etrade_tasks import SignInRequired

pytestmark = [
    pytest.mark.usefixtures("quick_flows"),
    pytest.mark.real_time,
    pytest.mark.starts_programs,
]


@pytest.fixture(scope="module")
def cluster(prefect_server: None) -> Iterator[Any]:
    """A Dask cluster with two workers, each a process."""
    import distributed

    options = {"dashboard_address": None, "silence_logs": logging.CRITICAL, "worker_dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=True, **options) as made:
        yield made


@pytest.fixture
def on_dask(cluster: Any) -> Any:
    """The flow, run by these workers."""
    from prefect_dask import DaskTaskRunner

    return renew_fleet.with_options(task_runner=DaskTaskRunner(address=cluster.scheduler_address))


def test_a_fleet_is_renewed_by_other_processes(
    simulator: Simulator,
    save: Callable[..., str],
    on_dask: Any,
    files_at_rest: Callable[[], dict[str, bytes]],
) -> None:
    """On Dask, too, the flow gets back complete sessions and errors, and stores no result."""
    good, out = save("a"), save("out", access_token=None, access_token_secret=None)
    before = set(files_at_rest())
    state = on_dask([good, out], per_second=1_000.0, return_state=True)
    error = state.result(raise_on_failure=False)
    assert f"1 of 2 sessions are good. Sign in: {out}." in state.message
    assert (1, SignInRequired, out) == (
        error.good,
        type(error.errors[out]),
        error.errors[out].credentials,
    )
    made = {name for name in set(files_at_rest()) - before if "storage" in name}
    assert [] == [name for name in made if "etrade-session-" not in name]
    assert 1 == len(simulator.calls("/oauth/renew_access_token"))
