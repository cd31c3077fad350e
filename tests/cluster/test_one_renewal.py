"""Many callers at once: one renewal, and nobody hangs when a holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from etrade_flows import renew_access_token
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, RenewalFailed
from etrade_tasks.renew_session import cache_key
from etrade_tasks.sharing.locks import FileLockManager, RedisLockManager

RENEW = "/oauth/renew_access_token"
RENEW_ONCE = """
import sys
from etrade_flows import renew_access_token
print("reused" if renew_access_token(sys.argv[1]).reused else "renewed")
"""

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """E*TRADE on real time, as processes of their own see it."""
    with Simulator() as running:
        yield running


@pytest.fixture
def spawn(block: str, tmp_path: Path) -> Iterator[Spawn]:
    """Starts a process that renews once, with a Prefect home shared among those it starts."""
    started = []

    def start(**environment: str) -> subprocess.Popen[str]:
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("ETRADE_")}
        own = {
            "PREFECT_API_URL": get_current_settings().api.url,
            "PREFECT_HOME": str(tmp_path / "home"),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", RENEW_ONCE, block],
            env=inherited | own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(params=["file", "redis"])
def meeting_place(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where the processes keep their lock: in files or in Redis."""
    return {} if request.param == "file" else {"ETRADE_LOCK_REDIS_URL": request.getfixturevalue("redis_url")}


def test_processes_share_one_renewal(
    simulator: Simulator, spawn: Spawn, meeting_place: dict[str, str]
) -> None:
    """Six processes that ask at once make one call to E*TRADE, and all are served."""
    processes = [spawn(**meeting_place) for _ in range(6)]
    said = sorted(process.communicate(timeout=120)[0].strip() for process in processes)
    assert ["renewed", *["reused"] * 5] == sorted(said, key=lambda word: word == "reused")
    assert 1 == len(simulator.calls(RENEW))


def test_killed_holder_does_not_hold_up_the_next(
    simulator: Simulator,
    spawn: Spawn,
    credentials: ETradeCredentials,
    tmp_path: Path,
    wait_until: Callable[..., None],
) -> None:
    """When the process that renews is killed in the middle of its call, the next one renews at once."""
    simulator.plant(Fault(delay=120), path=RENEW)
    holder = spawn()
    locks = FileLockManager(tmp_path / "home" / "etrade-locks", lambda: 0.0)
    key = cache_key(None, {"credentials": credentials})
    wait_until(lambda: locks.is_locked(key), seconds=60)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert "renewed" == spawn().communicate(timeout=60)[0].strip()


@pytest.mark.usefixtures("quick_flows")
def test_threads_share_one_renewal(simulator: Simulator, block: str) -> None:
    """Eight threads of one process that ask at once make one call."""
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(copy_context().run, renew_access_token, block) for _ in range(8)]
        sessions = [future.result(timeout=120) for future in futures]
    assert 1 == [session.reused for session in sessions].count(False)
    assert 1 == len(simulator.calls(RENEW))


@pytest.fixture
def held_elsewhere(credentials: ETradeCredentials) -> Iterator[None]:
    """Somebody else holds the lock and does not let go."""
    directory = get_current_settings().home / "etrade-locks"
    manager = FileLockManager(directory, lambda: 5.0)
    key = cache_key(None, {"credentials": credentials})
    assert manager.acquire_lock(key, "somebody else")
    yield
    manager.release_lock(key, "somebody else")


@pytest.mark.usefixtures("quick_flows", "held_elsewhere")
def test_waiter_gives_up_at_its_deadline(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for another's renewal gives up at the deadline, says so, and calls nobody."""
    monkeypatch.setenv("ETRADE_DEADLINE", "0.3")
    with pytest.raises(RenewalFailed, match="another run has been renewing"):
        renew_access_token(block)
    assert [] == simulator.calls(RENEW)


@pytest.mark.usefixtures("quick_flows")
def test_waiter_looks_again_before_it_gives_up(
    simulator: Simulator, block: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter whose patience ends finds the record that was written meanwhile, and is served by it."""
    renew_access_token(block)
    request.getfixturevalue("held_elsewhere")
    monkeypatch.setenv("ETRADE_DEADLINE", "0.3")
    assert renew_access_token(block).reused is True


@pytest.mark.usefixtures("quick_flows")
def test_lock_service_that_is_down_does_not_stop_a_renewal(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Redis does not answer, the token is renewed without a lock."""
    monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", "redis://127.0.0.1:9")
    assert 1 == renew_access_token(block).attempts


def test_redis_lock_outlives_the_longest_call() -> None:
    """A lock in Redis cannot expire while the call that it guards is still under way."""
    from etrade_tasks.call_renew import CALL_LIMIT
    from etrade_tasks.settings import RenewalSettings
    from etrade_tasks.sharing.effort import Effort

    settings = RenewalSettings(lock_redis_url="redis://127.0.0.1:9")
    manager = Effort("any", settings).lock_manager()
    assert isinstance(manager, RedisLockManager)
    assert timedelta(seconds=manager.time_to_live) > CALL_LIMIT
