"""No default of the user's Prefect settings changes what our flows and tasks do."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator

import pytest
from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.settings import Settings
from pydantic import BaseModel

import etrade_flows
import etrade_tasks

pytestmark = pytest.mark.starts_programs

KEPT = (
    *("retries", "persist_result", "timeout_seconds", "cache_policy", "refresh_cache", "result_storage"),
    *("result_serializer", "retry_jitter_factor", "cache_expiration"),
)


def described() -> dict[str, dict[str, object]]:
    """The options of every flow and task, as text."""
    found = {}
    for package in (etrade_tasks, etrade_flows):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for piece in vars(importlib.import_module(module.name)).values():
                if isinstance(piece, (Flow, Task)):
                    kept = {name: repr(getattr(piece, name, None)) for name in KEPT}
                    # Where nothing is tried again, the wait before it is no matter.
                    kept["delay"] = repr(piece.retries and piece.retry_delay_seconds)
                    found[piece.name] = {n: re.sub(" at 0x[0-9a-f]+", "", text) for n, text in kept.items()}
    return found


def defaults(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """The variables of every setting below this one that is a default for flows, tasks or their results."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from defaults(kind, f"{prefix}{name}_")
        elif "default" in name:
            yield f"{prefix}{name}".upper()


def user_defaults() -> dict[str, str]:
    """Every default, set to a value that would show."""
    parts = {name: Settings.model_fields[name].annotation for name in ("flows", "tasks", "results")}
    found = [each for name, part in parts.items() for each in defaults(part, f"prefect_{name}_")]
    values = {"SERIALIZER": "json", "BLOCK": "local-file-system/fake", "RETRIES": "7", "SECONDS": "7"}
    return {name: values.get(name.rpartition("_")[2], "true") for name in found}


def test_the_settings_are_those_known_to_matter() -> None:
    """Prefect's settings include the defaults that have changed our flows and tasks."""
    assert {
        "PREFECT_FLOWS_DEFAULT_RETRIES",
        "PREFECT_TASKS_DEFAULT_RETRIES",
        "PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS",
        "PREFECT_TASKS_DEFAULT_PERSIST_RESULT",
        "PREFECT_TASKS_DEFAULT_NO_CACHE",
    } <= set(user_defaults())


def test_no_default_changes_a_flow_or_a_task(run_python: Callable[..., str]) -> None:
    """Each flow and task keeps its own retries, storage and caching, whatever the defaults say."""
    assert described() == json.loads(run_python(__file__, **user_defaults()))
    assert 8 <= len(described())


def test_nothing_is_stored_and_no_secret_is_cached() -> None:
    """The result of no flow and no task is stored, and no task near a secret is cached or retried alone."""
    kept = described()
    assert {"False"} == {each["persist_result"] for each in kept.values()}
    near = [kept[name] for name in ("load-credentials", "sign-request", "call-renew", "classify-response")]
    assert [(repr(NO_CACHE), "0")] * 4 == [(each["cache_policy"], each["retries"]) for each in near]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(described()))
