"""Two hundred pipelines at once, on PostgreSQL: one renewal, and little more delay than with empty flows.

It takes minutes and needs an otherwise idle machine, so only `make crowd` runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials

RENEW = "/oauth/renew_access_token"
PROGRAM = Path(__file__).with_name("many_pipelines.py")
PROCESSES, RUNS = 8, 25


@pytest.fixture(scope="module")
def etrade() -> Iterator[Simulator]:
    """The simulator in real time, for all tests of this file."""
    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(cluster_with: Callable[..., Any], etrade: Simulator) -> Any:
    """A cluster with the block `etrade`, without workers and background services."""
    cluster = cluster_with(ETRADE_DEADLINE="600", PREFECT_LOGGING_LEVEL="CRITICAL")
    cluster.services.kill()
    with temporary_settings({PREFECT_API_URL: cluster.url}):
        ETradeCredentials.model_validate(etrade.credentials(etrade.sign_in("live"))).save("etrade")
    return cluster


def at_once(cluster: Any, kind: str) -> list[float | str]:
    """The result of every run of a kind, all started together in all processes."""
    gate = cluster.folder / f"gate-{kind}"
    command = [sys.executable, str(PROGRAM), kind, str(RUNS), str(gate)]
    processes = [
        subprocess.Popen(command, env=cluster.workers[0].environment, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert "ready" in process.stdout.readline()
        gate.touch()
        return [each for process in processes for each in json.loads(process.communicate(timeout=600)[0])]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_pipelines_share_one_renewal(cluster: Any, etrade: Simulator) -> None:
    """200 pipelines in 8 processes succeed with one call, none much slower than the slowest empty flow."""
    empty, renewing = at_once(cluster, "empty"), at_once(cluster, "renewing")
    assert [] == [each for each in empty + renewing if isinstance(each, str)]
    assert 1 == len(etrade.calls(RENEW))
    slowest, usual = max(renewing), max(empty)
    print(f"200 at once: slowest {slowest:.0f} s, of empty flows {usual:.0f} s")  # noqa: T201  # for the guide
    assert slowest < 1.5 * usual
