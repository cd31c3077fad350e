"""What a renewal costs, as ratios measured side by side in one run.

Absolute times depend on the machine and on what else it does; each figure is the median of pairs taken in
turn, so that a slow moment falls on both sides alike.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

HOME = tempfile.mkdtemp(prefix="etrade-bench-")
os.environ.update(
    PREFECT_HOME=HOME, PREFECT_LOGGING_LEVEL="CRITICAL", PREFECT_SERVER_ANALYTICS_ENABLED="false"
)

from oauthlib.oauth1 import Client  # noqa: E402
from prefect import flow  # noqa: E402
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from etrade_flows import active_session, renew_access_token  # noqa: E402
from etrade_simulator import Simulator  # noqa: E402
from etrade_tasks import ETradeCredentials  # noqa: E402
from etrade_tasks.oauth.signature import SigningKeys, authorization_header  # noqa: E402

Action = Callable[[], object]


def compare(first: Action, second: Action, pairs: int) -> tuple[float, float, float]:
    """Median milliseconds of each action, and the median of the ratios pair by pair."""
    times = [(_milliseconds(first), _milliseconds(second)) for _ in range(pairs)]
    ratios = [one / other for one, other in times]
    return (
        statistics.median(one for one, _ in times),
        statistics.median(other for _, other in times),
        statistics.median(ratios),
    )


def _milliseconds(action: Action) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


@flow
def empty() -> None:
    """What any sync flow costs."""


@flow
async def empty_async() -> None:
    """What any async flow costs."""


@flow
async def async_parent() -> None:
    """An async pipeline that renews in a thread."""
    await asyncio.to_thread(renew_access_token, "bench")


def main() -> int:
    """Measure, and print one row a comparison."""
    table = Table(title="Medians in ms, and the median of A/B over pairs taken in turn")
    for heading in ("A", "B", "A ms", "B ms", "A/B"):
        table.add_column(heading, justify="left" if len(heading) == 1 else "right")

    def row(name: str, action: Action, other_name: str, other: Action, pairs: int) -> None:
        figures = compare(action, other, pairs)
        table.add_row(name, other_name, *(f"{figure:,.3f}" for figure in figures))

    keys = SigningKeys("fake-key", "fake-secret", "fake/token+=", "fake/token+secret=")
    url = "https://api.etrade.com/oauth/renew_access_token"
    foreign = Client("fake-key", "fake-secret", "fake/token+=", "fake/token+secret=")
    row(
        "sign one request",
        lambda: authorization_header("GET", url, keys),
        "the same by oauthlib",
        lambda: foreign.sign(url),
        2000,
    )
    with Simulator() as simulator, prefect_test_harness():
        token = simulator.sign_in("live")
        credentials = ETradeCredentials.model_validate(simulator.credentials(token))
        credentials.save("bench")
        renew_access_token("bench")
        with credentials.get_client() as client:
            row(
                "signed data call",
                lambda: client.get("/v1/accounts/list.json"),
                "sign one request",
                lambda: authorization_header("GET", url, keys),
                200,
            )
        row("renewal, reused", lambda: renew_access_token("bench"), "empty sync flow", empty, 10)
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            row(
                "the same without Prefect's heartbeat",
                lambda: renew_access_token("bench"),
                "empty",
                empty,
                20,
            )
            row(
                "renewal, forced",
                lambda: renew_access_token("bench", force=True),
                "renewal, reused",
                lambda: renew_access_token("bench"),
                20,
            )
        row(
            "active session, from memory",
            lambda: active_session("bench"),
            "sign one request",
            lambda: authorization_header("GET", url, keys),
            2000,
        )
        row(
            "async parent, renewal in a thread",
            lambda: asyncio.run(async_parent()),
            "empty async flow",
            lambda: asyncio.run(empty_async()),
            10,
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
