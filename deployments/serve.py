#!/usr/bin/env python
"""Serve the flows of the package from one process, without a worker: `python deployments/serve.py`.

For a laptop or a single container. It takes the deployments from `prefect.yaml`: the same names, schedules
and limits that `prefect deploy --all` registers, only that this process runs them. Use the one or the other
against a server; whichever came last decides where the runs go. Each run is a process of its own, so that
renewals go on while a sign-in waits for its person.
"""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType
from ruamel.yaml import YAML

PREFECT_YAML = Path(__file__).resolve().parents[1] / "prefect.yaml"
PACKAGE = "etrade_flows."
"""How an entry point begins that needs no checkout."""


def package_deployments(path: Path = PREFECT_YAML) -> list[RunnerDeployment]:
    """The deployments of the package's own flows that a `prefect.yaml` describes.

    Args:
        path: The file to read.
    """
    configured: list[dict[str, Any]] = YAML(typ="safe").load(path)["deployments"]
    return [_deployment(each) for each in configured if each["entrypoint"].startswith(PACKAGE)]


def _deployment(configured: dict[str, Any]) -> RunnerDeployment:
    limit = configured.get("concurrency_limit")
    return RunnerDeployment.from_flow(
        resolve_name(configured["entrypoint"]),
        name=configured["name"],
        description=configured["description"],
        version=configured["version"],
        tags=configured["tags"],
        parameters=configured["parameters"],
        enforce_parameter_schema=configured["enforce_parameter_schema"],
        schedules=[Schedule(**schedule) for schedule in configured.get("schedules", [])],
        concurrency_limit=ConcurrencyLimitConfig(**limit) if limit else None,
        # By module, as in prefect.yaml: a path would be taken relative to wherever this was started.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def main() -> None:
    """Register the deployments and run what they schedule, until interrupted."""
    # Prefect would pause the schedules at the end and leave them paused at the next start.
    serve(*package_deployments(), pause_on_shutdown=False)


if __name__ == "__main__":
    main()
