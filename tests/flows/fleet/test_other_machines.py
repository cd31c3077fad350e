"""The flow `renew-fleet` on a cluster of other processes: Dask's and Ray's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from prefect.task_runners import TaskRunner

from etrade_flows import renew_fleet
from etrade_simulator import Simulator
from etrade_tasks import SignInRequired

pytestmark = [
    pytest.mark.usefixtures("quick_flows"),
    pytest.mark.real_time,
    pytest.mark.starts_programs,
]


@contextmanager
def dask() -> Iterator[TaskRunner[Any]]:
    """Two Dask workers, each a process."""
    import distributed
    from prefect_dask import DaskTaskRunner

    options = {"dashboard_address": None, "silence_logs": logging.CRITICAL, "worker_dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=True, **options) as made:
        yield DaskTaskRunner(address=made.scheduler_address)


@contextmanager
def ray() -> Iterator[TaskRunner[Any]]:
    """A Ray cluster of this machine, with two workers."""
    prefect_ray = pytest.importorskip("prefect_ray")
    import ray

    # A short path, because it is a part of the names of sockets.
    with TemporaryDirectory(prefix="ray-") as folder:
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, **quiet)
        try:
            yield prefect_ray.RayTaskRunner()
        finally:
            ray.shutdown()


@pytest.fixture(params=[dask, ray])
def on_a_cluster(
    request: pytest.FixtureRequest, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The flow, run by the workers of a cluster."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on Linux, too, it listens on loopback only
    with request.param() as task_runner:
        yield renew_fleet.with_options(task_runner=task_runner)


def test_a_fleet_is_renewed_by_other_processes(
    simulator: Simulator,
    save: Callable[..., str],
    on_a_cluster: Any,
    files_at_rest: Callable[[], dict[str, bytes]],
) -> None:
    """On a cluster, too, the flow gets back complete sessions and errors, and stores no result."""
    good, out = save("a"), save("out", access_token=None, access_token_secret=None)
    before = set(files_at_rest())
    state = on_a_cluster([good, out], per_second=1_000.0, return_state=True)
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
