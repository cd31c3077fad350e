"""Saves what a benchmark has measured, with the machine and the time."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import __version__ as prefect_version

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def keep(name: str, rows: Iterable[DataclassInstance]) -> None:
    """Save the rows as a JSON file of that name under `build/`."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, Prefect {prefect_version}"
    told = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine}
    saved = Path(__file__).resolve().parents[1] / "build" / name
    saved.parent.mkdir(exist_ok=True)
    saved.write_text(json.dumps(told | {"rows": [asdict(row) for row in rows]}, indent=2))
