"""The start-up file for a Prefect server on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "deployments" / "collector"

CYCLE = """
import threading

class Cursor:
    def __init__(self):
        self.itself = self

    def __del__(self):
        told.append(threading.current_thread().name)
        collected.set()

told, collected = [], threading.Event()
for _ in range(10_000):
    Cursor()
collected.wait(60)
print(set(told))
"""


def test_garbage_is_collected_in_a_thread_of_its_own(run_python: Callable[..., str]) -> None:
    """No thread of a server collects garbage, however much it makes, but the one that does nothing else."""
    assert "{'collector'}" == run_python("-c", CYCLE, PYTHONPATH=str(FOLDER)).strip()
