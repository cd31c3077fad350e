"""Many callers at once: one renewal, and nobody hangs when the lock's holder dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from math import prod
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import get_current_settings

from etrade_flows import renew_access_token
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, RenewalFailed, TokenSession
from etrade_tasks.clock import now
from etrade_tasks.session import IDLE_LIMIT
from etrade_tasks.sharing.locks import FileLocks
from etrade_tasks.sharing.record import Record, Records, record_key

RENEW = "/oauth/renew_access_token"
PROGRAM = Path(__file__).with_name("callers.py")
FOUR, THOUSAND = (2, 2), (8, 125)
"""Processes, and threads in each."""
ENDURANCE = pytest.mark.endurance

Spawn = Callable[..., "subprocess.Popen[str]"]
Said = list[tuple[str, float]]


@pytest.fixture
def spawn(block: str, tmp_path: Path) -> Iterator[Spawn]:
    """Starts a process with this many callers, which wait for `go`; all processes share a Prefect home."""
    started = []

    def start(callers: int = 1, **environment: str) -> subprocess.Popen[str]:
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("ETRADE_")}
        own = {
            "PREFECT_API_URL": get_current_settings().api.url,
            "PREFECT_HOME": str(tmp_path / "home"),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
        }
        command = [sys.executable, str(PROGRAM), block, str(callers)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=inherited | own | environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def place(request: pytest.FixtureRequest, locks: str) -> dict[str, str]:
    """The variables that keep the processes' lock in files or in Redis."""
    return {"ETRADE_LOCK_REDIS_URL": request.getfixturevalue("redis_url")} if locks == "redis" else {}


def go(*processes: subprocess.Popen[str]) -> None:
    """Let the callers of these processes ask at once."""
    for process in processes:
        assert "ready\n" == process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def said_by(*processes: subprocess.Popen[str]) -> Said:
    """What each caller got, and how many seconds it took, once all processes have ended."""
    told = [process.communicate(timeout=180)[0] for process in processes]
    return sorted(tuple(each) for said in told for each in json.loads(said))


def ask_at_once(spawn: Spawn, processes: int, threads: int, **environment: str) -> Said:
    """What each caller got when all asked at once."""
    started = [spawn(threads, **environment) for _ in range(processes)]
    go(*started)
    return said_by(*started)


@pytest.mark.parametrize(
    ("callers", "locks", "deadline"),
    [(FOUR, "files", 600), (FOUR, "redis", 600), pytest.param(THOUSAND, "files", 60, marks=ENDURANCE)],
    ids=["files", "redis", "thousand"],
)
def test_processes_share_one_renewal(
    *, simulator: Simulator, spawn: Spawn, request: Any, callers: tuple[int, int], locks: str, deadline: int
) -> None:
    """Callers in several processes that ask at once make one call to E*TRADE, and all get the session."""
    said = ask_at_once(spawn, *callers, **place(request, locks), ETRADE_DEADLINE=str(deadline))
    assert {"renewed": 1, "reused": prod(callers) - 1} == Counter(word for word, _ in said)
    assert 1 == len(simulator.calls(RENEW))


@pytest.mark.parametrize(
    ("callers", "deadline", "first_backoff"),
    [(FOUR, 600, "0.05"), pytest.param(THOUSAND, 30, "1", marks=ENDURANCE)],
    ids=["four", "thousand"],
)
def test_outage_is_shared(
    simulator: Simulator, spawn: Spawn, callers: tuple[int, int], deadline: int, first_backoff: str
) -> None:
    """While E*TRADE is down, all callers fail in time, with at most twice as many calls as one makes."""
    simulator.plant(Fault(status=503), path=RENEW, times=1000)
    variables = {"ETRADE_DEADLINE": str(deadline), "ETRADE_FIRST_BACKOFF": first_backoff}
    said = ask_at_once(spawn, *callers, **variables)
    assert {"RenewalFailed": prod(callers)} == Counter(word for word, _ in said)
    assert len(simulator.calls(RENEW)) <= 2 * 7
    assert max(seconds for _, seconds in said) <= 1.1 * deadline


@pytest.mark.parametrize(("end", "locks"), [(signal.SIGKILL, "redis"), (signal.SIGSTOP, "files")])
def test_dead_or_stopped_holder_does_not_hold_up_the_next(
    simulator: Simulator, spawn: Spawn, request: pytest.FixtureRequest, end: signal.Signals, locks: str
) -> None:
    """When the renewing process is killed or stopped during its call, another one renews for all in time."""
    simulator.plant(Fault(delay=120), path=RENEW)
    holder, *waiters = (spawn(**place(request, locks), ETRADE_DEADLINE="30") for _ in range(3))
    go(holder)
    request.getfixturevalue("wait_until")(lambda: 1 == len(simulator.calls(RENEW)), seconds=180)
    holder.send_signal(end)
    go(*waiters)
    assert ["renewed", "reused"] == [word for word, _ in said_by(*waiters)]
    assert 2 == len(simulator.calls(RENEW))


@pytest.fixture
def held_elsewhere(credentials: ETradeCredentials) -> Iterator[None]:
    """Another holder has the lock and does not release it."""
    locks = FileLocks(get_current_settings().home / "etrade-locks")
    held = locks.try_lock(record_key(credentials))
    assert held is not None
    yield
    held.release()


@pytest.mark.usefixtures("quick_flows", "held_elsewhere")
def test_caller_that_never_gets_the_lock_calls_by_itself(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that never gets the lock calls E*TRADE itself, and a failure says how long it waited."""
    monkeypatch.setenv("ETRADE_DEADLINE", "3")
    simulator.plant(Fault(status=503), path=RENEW, times=10)
    with pytest.raises(RenewalFailed, match=r"It waited \d s for another run"):
        renew_access_token(block)
    assert simulator.calls(RENEW)


@pytest.mark.usefixtures("quick_flows")
def test_waiter_finds_the_record_while_it_waits(
    simulator: Simulator, block: str, request: pytest.FixtureRequest, credentials: ETradeCredentials
) -> None:
    """A caller that waits for the lock stops waiting as soon as another's renewal is recorded."""
    request.getfixturevalue("held_elsewhere")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(copy_context().run, renew_access_token, block)
        at = now()
        session = TokenSession(
            environment="live",
            fingerprint=credentials.fingerprint,
            renewed_at=at,
            idle_at=at + IDLE_LIMIT,
            expires_at=credentials.expires_at(at),
        )
        Records().write(credentials, Record.of(session))
        assert waiting.result(timeout=60).reused is True
    assert [] == simulator.calls(RENEW)


@pytest.mark.usefixtures("quick_flows")
def test_lock_service_that_is_down_does_not_stop_a_renewal(
    simulator: Simulator, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Redis does not answer, the token is renewed without a lock."""
    monkeypatch.setenv("ETRADE_LOCK_REDIS_URL", "redis://127.0.0.1:9")
    assert 1 == renew_access_token(block).attempts
