"""One process of many: COUNT threads ask for the session at once, and it prints their results as JSON.

Run it as `python callers.py BLOCK COUNT`; the threads ask once it has read a line.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from prefect_etrade import ETradeError, active_session


def timed(block: str, together: threading.Barrier) -> tuple[str, float]:
    """What one caller got (`renewed`, `reused` or the name of its error), and how many seconds it took."""
    together.wait()
    began = time.monotonic()
    try:
        said = "reused" if active_session(block).reused else "renewed"
    except ETradeError as error:
        said = type(error).__name__
    return said, time.monotonic() - began


if __name__ == "__main__":
    block, count = sys.argv[1], int(sys.argv[2])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    together = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        sys.stdout.write(json.dumps(list(pool.map(timed, [block] * count, [together] * count))))
