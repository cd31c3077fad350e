"""For a Prefect server on SQLite: collects garbage in a thread of its own.

    PYTHONPATH=deployments/collector prefect server start

In the thread of the event loop, the collector may wait for SQLite for up to a minute, and the server with it.
`docs/upstream/server-on-sqlite-stands-still.md` says why. Python imports this module when it starts.
"""

import gc
import threading
import time

EVERY = 5.0
"""Seconds between two collections."""


def _collect() -> None:
    while True:
        time.sleep(EVERY)
        gc.collect()


gc.disable()
threading.Thread(target=_collect, name="collector", daemon=True).start()
