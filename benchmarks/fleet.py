"""Measures the cost of each token of a fleet, by the number of tokens, beside a bare loop of signed calls.

    python benchmarks/fleet.py 100 500 2000

Each size is a separate fleet of new tokens with twenty consumer keys, on a new Prefect server with SQLite
and a new simulator, all on this machine. The pace for each consumer key is not measured. The table is
printed, and saved as JSON under `build/`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

HOME = tempfile.mkdtemp(prefix="etrade-bench-")
os.environ.update(
    PREFECT_HOME=HOME, PREFECT_LOGGING_LEVEL="CRITICAL", PREFECT_SERVER_ANALYTICS_ENABLED="false"
)

import httpx  # noqa: E402
from keeping import keep  # noqa: E402
from prefect.client.base import PrefectHttpxSyncClient  # noqa: E402
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.client.schemas.actions import BlockDocumentCreate  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from etrade_simulator import Simulator  # noqa: E402
from etrade_tasks.oauth.signature import signed_get  # noqa: E402
from prefect_etrade import ETradeCredentials, renew_fleet  # noqa: E402

KEYS = 20
CONCURRENCY = 16
RENEW = "/oauth/renew_access_token"


@dataclass(frozen=True)
class Row:
    """One fleet.

    Attributes:
        tokens: How many it has.
        ms: Milliseconds for each token.
        cpu_ms: Processor time of this process for each token, with the simulator but not the Prefect server.
        bare_ms: The same as `ms` for the bare loop.
        calls: Calls to E*TRADE for each token.
        requests: Requests to the Prefect API for each token.
        memory_mb: How much the run increased this process's peak memory.
        objects_kb: The same for each token.
    """

    tokens: int
    ms: float
    cpu_ms: float
    bare_ms: float
    calls: float
    requests: float
    memory_mb: float
    objects_kb: float


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the requests that this process makes to the Prefect API."""
    seen, lock, send = Counter[str](), threading.Lock(), PrefectHttpxSyncClient.send

    def counting(
        self: PrefectHttpxSyncClient, request: httpx.Request, *args: object, **kwargs: object
    ) -> object:
        with lock:
            seen["requests"] += 1
        return send(self, request, *args, **kwargs)  # type: ignore[arg-type]

    PrefectHttpxSyncClient.send = counting  # type: ignore[method-assign,assignment]
    try:
        yield seen
    finally:
        PrefectHttpxSyncClient.send = send  # type: ignore[method-assign]


def signed_in(simulator: Simulator, tokens: int) -> list[ETradeCredentials]:
    """The credentials of a fleet, saved as blocks that begin with its size."""
    consumers = [simulator.add_consumer("live") for _ in range(KEYS)]
    made = []
    with get_client(sync_client=True) as client:
        for number in range(tokens):
            token = simulator.sign_in("live", consumer=consumers[number % KEYS])
            one = ETradeCredentials.model_validate(simulator.credentials(token))
            secrets = {"include_secrets": True}
            document = BlockDocumentCreate(
                name=f"bench{tokens}-{number:05}",
                data=one.model_dump(mode="json", context=secrets, exclude={"block_type_slug"}),
                block_type_id=ETradeCredentials._block_type_id,  # noqa: SLF001  # Prefect has no public name
                block_schema_id=ETradeCredentials._block_schema_id,  # noqa: SLF001  # as above
            )
            client.create_block_document(document)
            made.append(one)
    return made


async def bare_loop(fleet: list[ETradeCredentials]) -> None:
    """Sign and call for each token, and do nothing else."""
    room = asyncio.Semaphore(CONCURRENCY)
    async with httpx.AsyncClient() as client:

        async def renew(one: ETradeCredentials) -> None:
            request = signed_get(one.oauth_base_url + "/renew_access_token", one.signing_keys, timedelta(0))
            async with room:
                answer = await client.get(
                    request.url, headers={"Authorization": request.authorization.get_secret_value()}
                )
            answer.raise_for_status()

        await asyncio.gather(*map(renew, fleet))


def measured(simulator: Simulator, fleet: list[ETradeCredentials]) -> Row:
    """Measure one fleet."""
    tokens = len(fleet)
    began = time.perf_counter()
    asyncio.run(bare_loop(fleet))
    bare = time.perf_counter() - began
    calls, before = len(simulator.calls(RENEW)), _largest()
    with counted() as seen:
        began, computed = time.perf_counter(), time.process_time()
        sessions = renew_fleet([f"bench{tokens}-*"], concurrency=CONCURRENCY, per_second=1e6)
        took, computed = time.perf_counter() - began, time.process_time() - computed
    if len(sessions) != tokens:
        raise RuntimeError(f"{len(sessions)} of {tokens} tokens were renewed")
    grown = _largest() - before
    return Row(
        tokens=tokens,
        ms=took / tokens * 1000,
        cpu_ms=computed / tokens * 1000,
        bare_ms=bare / tokens * 1000,
        calls=(len(simulator.calls(RENEW)) - calls) / tokens,
        requests=seen["requests"] / tokens,
        memory_mb=grown / 1024,
        objects_kb=grown / tokens,
    )


def _largest() -> int:
    """This process's peak memory, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(sizes: list[int]) -> int:
    """Measure, print a row for each fleet, and save them."""
    table = Table(title=f"renew-fleet, {CONCURRENCY} at once")
    for heading in (
        "tokens",
        "ms a token",
        "CPU ms",
        "bare loop",
        "calls",
        "API requests",
        "memory, MB",
        "KB a token",
    ):
        table.add_column(heading, justify="right")
    rows = []
    for tokens in sizes:
        # A new server for each: after a fleet's run, one on SQLite answers 503 for minutes (3.8).
        with Simulator() as simulator, prefect_test_harness(server_startup_timeout=120):
            ETradeCredentials.register_type_and_schema(_sync=True)  # type: ignore[call-arg]
            rows.append(measured(simulator, signed_in(simulator, tokens)))
        print(rows[-1], flush=True)  # noqa: T201  # shows the progress of a long run
    for row in rows:
        figures = (row.ms, row.cpu_ms, row.bare_ms, row.calls, row.requests, row.memory_mb, row.objects_kb)
        table.add_row(f"{row.tokens:,}", *(f"{figure:,.2f}" for figure in figures))
    Console().print(table)
    keep("bench-fleet.json", rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main([int(size) for size in sys.argv[1:]] or [100, 500, 2000]))
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
