"""Serve the flows of the package from one process, without a worker: the command `etrade-session serve`.

This is for a laptop or a single container. It takes the deployments from `prefect.yaml`, which is also in the
wheel. They have the same names, schedules and limits as with `prefect deploy --all`, but this process runs
them. Use only one of the two with a server: the last one decides where the runs go. Each run is a separate
process, so that renewals go on while a sign-in waits for a person.

A restart keeps what people have set on the server: a paused deployment stays paused, and a schedule that is
switched off or edited stays so.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import httpx
from prefect import serve as run_until_interrupted
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Schedule
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL
from prefect.types.entrypoint import EntrypointType
from ruamel.yaml import YAML

from etrade_flows.cli.output import tell

PACKAGE = "etrade_flows."
"""The prefix of an entry point that needs no checkout."""


def serve(accounts: Sequence[str] = ()) -> None:
    """Register the deployments on the Prefect server, and run their scheduled runs until interrupted.

    Args:
        accounts: The names of the credentials to serve; by default the one in `prefect.yaml`.
    """
    deployments = [each for account in accounts or (None,) for each in package_deployments(account)]
    for deployment in deployments:
        _keep_what_people_set(deployment)
    server, ui = _shown(PREFECT_API_URL.value()), _shown(PREFECT_UI_URL.value())
    tell(f"Serving on the Prefect server at {server}, which people see at {ui}.")
    # Prefect would pause the schedules at the end, and the next start keeps them as it finds them.
    run_until_interrupted(*deployments, pause_on_shutdown=False)


def package_deployments(credentials: str | None = None) -> list[RunnerDeployment]:
    """The deployments of the package's own flows, without the example pipelines.

    Every account but the one in `prefect.yaml` has its own deployments with its name: `hourly-second`. Else
    two processes would share a deployment, and the last one to start would run it, with its own `ETRADE_*`
    variables.

    Args:
        credentials: The name of the credentials that they renew; None for those in `prefect.yaml`.
    """
    configured: list[dict[str, Any]] = YAML(typ="safe").load(_prefect_yaml().read_text())["deployments"]
    ours = [each for each in configured if each["entrypoint"].startswith(PACKAGE)]
    return [_deployment(each if credentials is None else _meant_for(credentials, each)) for each in ours]


def installed() -> dict[str, str]:
    """The installed package's version, as a step with which `prefect deploy` fills in `prefect.yaml`.

    Prefect imports the function in its own process, so it finds the package where `prefect` itself is
    installed. A shell command would need the same Python on the PATH.
    """
    return {"version": version("prefect-etrade")}


def _keep_what_people_set(deployment: RunnerDeployment) -> None:
    """Do not send the pause and the schedules if the server already has the deployment.

    Prefect 3.8 sends each field that was ever set: always `paused=False`, and each schedule as active. The
    server then switches on what was off. If one schedule has no slug, such as one added in the UI, the server
    deletes all of them and writes ours. A deployment without any schedule does get ours.
    """
    # Set to its default, because only a set field is sent. The server then takes the deployment out of the
    # work pool that `prefect deploy` gave it. Otherwise a worker would run it too.
    deployment.work_pool_name = None
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(deployment.full_name)
        except ObjectNotFound:
            return
    left_alone = {"paused"}
    if found.schedules:
        deployment.schedules = None
        left_alone.add("schedules")
    deployment.model_fields_set.difference_update(left_alone)


def _shown(address: str | None) -> str:
    """An address from the settings, without its user and password."""
    return str(httpx.URL(address or "").copy_with(userinfo=b""))


def _prefect_yaml() -> Traversable:
    """The copy in the wheel; in a checkout, the file itself."""
    carried = files("etrade_flows") / "prefect.yaml"
    return carried if carried.is_file() else Path(__file__).resolve().parents[3] / "prefect.yaml"


def _meant_for(credentials: str, configured: dict[str, Any]) -> dict[str, Any]:
    """The same deployment for other credentials, under its own name."""
    first = configured["parameters"]["credentials"]
    if credentials == first:
        return configured
    name = configured["name"]
    return configured | {
        "name": f"{name}-{credentials}",
        "description": configured["description"]
        .replace(f'/{name}"', f'/{name}-{credentials}"')
        .replace(f'"credentials": "{first}"', f'"credentials": "{credentials}"'),
        "parameters": configured["parameters"] | {"credentials": credentials},
    }


def _deployment(configured: dict[str, Any]) -> RunnerDeployment:
    limit = configured.get("concurrency_limit")
    return RunnerDeployment.from_flow(
        resolve_name(configured["entrypoint"]),
        name=configured["name"],
        description=configured["description"],
        version=installed()["version"],
        tags=configured["tags"],
        parameters=configured["parameters"],
        enforce_parameter_schema=configured["enforce_parameter_schema"],
        schedules=[Schedule(**schedule) for schedule in configured.get("schedules", [])],
        concurrency_limit=ConcurrencyLimitConfig(**limit) if limit else None,
        # By module, as in prefect.yaml: a path would be relative to the current folder.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
