"""One process of many: starts COUNT pipeline runs at once, and prints their results as JSON.

Run it as `python many_pipelines.py KIND COUNT GATE`; it starts the runs once the file GATE exists.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from prefect import flow

from prefect_etrade import renew_access_token


@flow
async def nothing() -> None:
    """Does nothing."""


@flow
async def pipeline_renewing() -> None:
    """A pipeline that renews as a subflow."""
    await renew_access_token("etrade")


@flow
async def pipeline_empty() -> None:
    """A pipeline that calls an empty flow."""
    await nothing()


async def timed(kind: str) -> float | str:
    """How many seconds one run took, or the name of its error."""
    began = time.monotonic()
    try:
        await {"renewing": pipeline_renewing, "empty": pipeline_empty}[kind]()
    except Exception as error:  # noqa: BLE001  # reported
        return type(error).__name__
    return time.monotonic() - began


async def all_at_once(kind: str, count: int) -> list[float | str]:
    """The results of this many runs at once."""
    return await asyncio.gather(*(timed(kind) for _ in range(count)))


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not Path(sys.argv[3]).exists():
        time.sleep(0.05)
    sys.stdout.write(json.dumps(asyncio.run(all_at_once(sys.argv[1], int(sys.argv[2])))))
