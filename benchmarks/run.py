"""Measures costs as ratios, side by side in one run, against rivals and against empty runs.

Absolute times depend on the machine and its other work. So each figure is the median of pairs measured in
turn, and a slow moment affects both sides. The table is printed, and saved as JSON under `build/`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

HOME = tempfile.mkdtemp(prefix="etrade-bench-")
os.environ.update(
    PREFECT_HOME=HOME, PREFECT_LOGGING_LEVEL="CRITICAL", PREFECT_SERVER_ANALYTICS_ENABLED="false"
)

import etrade_python.auth.credentials  # noqa: E402
import httpx  # noqa: E402
import oauthlib.oauth1  # noqa: E402
import pyetrade  # noqa: E402
from authlib.oauth1 import ClientAuth  # noqa: E402
from etrade_python import ETradeSettings  # noqa: E402
from etrade_python.auth import oauth  # noqa: E402
from keeping import keep  # noqa: E402
from prefect import flow, task  # noqa: E402
from prefect.settings import (  # noqa: E402
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from etrade_simulator import Simulator  # noqa: E402
from etrade_tasks.oauth.http import fetch  # noqa: E402
from etrade_tasks.oauth.signature import SigningKeys, authorization_header  # noqa: E402
from prefect_etrade import (  # noqa: E402
    ETradeCredentials,
    active_session,
    renew_access_token,
    sign_request,
)

ACCOUNTS = "/v1/accounts/list.json"

Action = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: What is measured.
        beside: What it is compared with.
        ours: Its median, in milliseconds.
        theirs: The other's median, in milliseconds.
        ratio: The median of the pairs' ratios.
        aim: The highest acceptable ratio.
    """

    what: str
    beside: str
    ours: float
    theirs: float
    ratio: float
    aim: float


REST = 0.5
"""Seconds in which the Prefect server stores what a run has sent, so that no other run waits for it."""


def compare(
    what: str,
    action: Action,
    beside: str,
    other: Action,
    *,
    pairs: int,
    aim: float,
    rest: float = 0.0,
    calls: tuple[int, int] = (1, 1),
) -> Row:
    """The comparison of two actions, each warmed up once and then measured in turn after a rest.

    Args:
        what: The action's name.
        action: The action.
        beside: The other's name.
        other: What it is measured beside.
        pairs: How often both are measured.
        aim: The ratio that it should not exceed.
        rest: Seconds before each.
        calls: How many calls of each one measurement takes, of which it gives the mean.
    """
    action(), other()
    of_ours, of_theirs = calls
    times = [
        (_milliseconds(action, of_ours, rest), _milliseconds(other, of_theirs, rest)) for _ in range(pairs)
    ]
    return _row(what, beside, times, aim)


def _row(what: str, beside: str, times: list[tuple[float, float]], aim: float) -> Row:
    """The comparison from these pairs of milliseconds."""
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    return Row(what, beside, ours, theirs, statistics.median(one / two for one, two in times), aim)


def _milliseconds(action: Action, calls: int, rest: float) -> float:
    time.sleep(rest)
    began = time.perf_counter()
    for _ in range(calls):
        action()
    return (time.perf_counter() - began) * 1000 / calls


@task
def empty_task() -> None:
    """An empty task."""


@flow
def empty() -> None:
    """An empty sync flow."""


@flow
async def empty_async() -> None:
    """An empty async flow."""


@task
def four_tasks() -> None:
    """A task that calls three others."""
    for _ in range(3):
        empty_task()


def without_prefect(credentials: ETradeCredentials, simulator: Simulator) -> Iterator[Row]:
    """Compare signing, and the call on the wire."""
    four = ("fake-key", "fake-secret", "fake/token+=", "fake/token+secret=")
    keys = SigningKeys(*four)
    url = "https://api.etrade.com/oauth/renew_access_token"

    def signed() -> object:
        return authorization_header("GET", url, keys, timestamp=int(time.time()))

    foreign, authlib = oauthlib.oauth1.Client(*four), ClientAuth(*four)
    yield compare("sign", signed, "oauthlib", lambda: foreign.sign(url), pairs=2000, aim=0.5)
    yield compare(
        "sign", signed, "Authlib", lambda: authlib.prepare("GET", url, {}, b""), pairs=2000, aim=0.5
    )

    own = credentials.signing_keys
    pair = (own.consumer_key, own.consumer_secret, own.token, own.token_secret)

    def rival() -> None:
        manager = pyetrade.ETradeAccessManager(*pair)
        manager.renew_access_token_url = f"{simulator.url}/oauth/renew_access_token"
        manager.renew_access_token()

    def renewed() -> None:
        fetch(sign_request.fn(credentials, timedelta(0)))

    yield compare("renew on the wire", renewed, "pyetrade", rival, pairs=60, aim=1.0)
    other = _etrade_python(credentials, simulator)
    yield compare("renew on the wire", renewed, "etrade-python", other, pairs=30, aim=1.0)

    def first_call() -> None:
        with credentials.get_client() as client:
            client.get(ACCOUNTS)

    def bare_first_call() -> None:
        with httpx.Client(base_url=simulator.url) as client:
            client.get(ACCOUNTS)

    yield compare("client and its first call", first_call, "httpx", bare_first_call, pairs=30, aim=1.1)
    with credentials.get_client() as client, httpx.Client(base_url=simulator.url) as bare:
        url = f"{simulator.url}{ACCOUNTS}"
        ready = iter([authorization_header("GET", url, own, timestamp=int(time.time())) for _ in range(201)])

        def kept() -> None:
            client.get(ACCOUNTS).raise_for_status()

        def bare_kept() -> None:
            bare.get(ACCOUNTS, headers={"Authorization": next(ready)}).raise_for_status()

        yield compare("call of a kept client", kept, "httpx, signed before", bare_kept, pairs=200, aim=1.15)


def _etrade_python(credentials: ETradeCredentials, simulator: Simulator) -> Action:
    """A renewal by etrade-python, which has no setting for the address."""
    keys = credentials.signing_keys
    settings = ETradeSettings(
        consumer_key=keys.consumer_key, consumer_secret=keys.consumer_secret, environment="production"
    )
    token = etrade_python.auth.credentials.ETradeCredentials(
        access_token=keys.token, access_token_secret=keys.token_secret
    )

    async def renew() -> None:
        async with oauth.OAuthClient(settings) as client:
            await client.renew_access_token(token)

    def renewed() -> None:
        with patch.object(oauth, "OAUTH_BASE_URL", simulator.url):
            asyncio.run(renew())

    return renewed


def within_a_flow(simulator: Simulator) -> Iterator[Row]:
    """Compare what a pipeline waits for; run this in a flow."""

    def reused() -> object:
        return renew_access_token("bench")

    def forced() -> object:
        return renew_access_token("bench", force=True)

    @flow
    def like_a_renewal() -> None:
        empty_task()
        four_tasks()
        httpx.get(f"{simulator.url}{ACCOUNTS}")

    yield compare("renewal, reused", reused, "empty subflow", empty, pairs=10, aim=0.35, rest=REST)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield compare(
            "the same, no heartbeats", reused, "empty subflow", empty, pairs=20, aim=1.15, rest=REST
        )
        beside = "five empty tasks and a GET"
        yield compare("renewal, no heartbeats", forced, beside, like_a_renewal, pairs=20, aim=1.15, rest=REST)
    yield compare(
        "active session, in a loop",
        lambda: active_session("bench"),
        "empty task",
        empty_task,
        pairs=5,
        aim=0.01,
        rest=REST,
        calls=(10_000, 100),
    )


async def within_an_async_flow(pairs: int = 10) -> Row:
    """Compare what an async pipeline waits for; await this in an async flow."""
    times = []
    for _ in range(pairs):
        taken = []
        for action in (lambda: renew_access_token("bench"), empty_async):
            await asyncio.sleep(REST)
            began = time.perf_counter()
            await action()
            taken.append((time.perf_counter() - began) * 1000)
        times.append((taken[0], taken[1]))
    return _row("renewal awaited, reused", "empty async subflow", times, 1.3)


def as_processes() -> Iterator[Row]:
    """Compare imports and commands, each as a separate process."""
    environment = _environment()

    def run(*command: str) -> Action:
        return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603

    python, folder = sys.executable, Path(sys.executable).parent
    imported = run(python, "-c", "import prefect_etrade")
    beside = run(python, "-c", "from prefect import flow, task")
    yield compare("import prefect_etrade", imported, "import flow, task", beside, pairs=10, aim=1.05)
    session, prefect = str(folder / "etrade-session"), run(str(folder / "prefect"), "version")
    for arguments in (("--help",), ("status", "bench")):
        what = f"etrade-session {arguments[0]}"
        yield compare(what, run(session, *arguments), "prefect version", prefect, pairs=5, aim=1.0)


def _environment() -> dict[str, str]:
    # The server in use is in Prefect's settings here, and other processes do not see those.
    return os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}


PROCESSES, THREADS = 4, 5


def at_once() -> Row:
    """The slowest of 20 renewals that start at once, and of 20 empty flows, each on a fresh server."""
    slowest = {}
    for kind in ("empty", "renewing"):
        with _signed_in(), tempfile.TemporaryDirectory() as folder:
            gate, program = Path(folder) / "gate", str(Path(__file__).with_name("at_once.py"))
            command = [sys.executable, program, kind, str(THREADS), str(gate)]
            started = [
                subprocess.Popen(command, env=_environment(), stdout=subprocess.PIPE, text=True)  # noqa: S603
                for _ in range(PROCESSES)
            ]
            for process in started:
                assert process.stdout is not None  # noqa: S101  # for type checkers
                process.stdout.readline()
            gate.touch()
            taken = [json.loads(process.communicate(timeout=600)[0]) for process in started]
            slowest[kind] = 1000 * max(seconds for each in taken for seconds in each)
    return _row("20 at once", "20 empty flows", [(slowest["renewing"], slowest["empty"])], 1.5)


def rows() -> Iterator[Row]:
    """All comparisons, in order."""
    with _signed_in() as (simulator, credentials):
        yield from without_prefect(credentials, simulator)
        renew_access_token("bench")

        @flow
        def pipeline() -> list[Row]:
            return list(within_a_flow(simulator))

        @flow
        async def async_pipeline() -> Row:
            return await within_an_async_flow()

        yield from pipeline()
        yield asyncio.run(async_pipeline())
        yield from as_processes()
    yield at_once()


@contextmanager
def _signed_in() -> Iterator[tuple[Simulator, ETradeCredentials]]:
    with Simulator() as simulator, prefect_test_harness(server_startup_timeout=120):
        credentials = ETradeCredentials.model_validate(simulator.credentials(simulator.sign_in("live")))
        credentials.save("bench")
        yield simulator, credentials


def main() -> int:
    """Measure, print a row for each comparison, and save them."""
    table = Table(title="Medians in ms; the ratio is the median over pairs taken in turn")
    for heading in ("what", "beside", "ms", "beside, ms", "ratio", "aim"):
        table.add_column(heading, justify="left" if heading in ("what", "beside") else "right")
    measured = list(rows())
    for row in measured:
        figures = (f"{row.ours:,.3f}", f"{row.theirs:,.3f}", f"{row.ratio:.3f}", f"{row.aim:g}")
        table.add_row(row.what, row.beside, *figures)
    Console().print(table)
    keep("bench.json", measured)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
