"""One process of several: so many flows at once from threads, then a line of JSON with the seconds of each.

Run it as `python at_once.py KIND COUNT GATE`; they start as soon as the file GATE exists.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prefect import flow

from prefect_etrade import renew_access_token


@flow
def empty(name: str) -> None:
    """What any flow with a parameter costs."""


FLOWS: dict[str, Callable[[str], object]] = {"renewing": renew_access_token, "empty": empty}


def seconds(kind: str) -> float:
    """How long one call took."""
    began = time.monotonic()
    FLOWS[kind]("bench")
    return time.monotonic() - began


if __name__ == "__main__":
    kind, count, gate = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not gate.exists():
        time.sleep(0.01)
    with ThreadPoolExecutor(count) as pool:
        sys.stdout.write(json.dumps(list(pool.map(seconds, [kind] * count))))
