"""Serve the flows of the package from one process, without a worker: the command `etrade-session serve`.

For a laptop or a single container. It takes the deployments from `prefect.yaml`, of which the wheel carries a
copy: the same names, schedules and limits that `prefect deploy --all` registers, only that this process runs
them. Use the one or the other against a server; whichever came last decides where the runs go. Each run is a
process of its own, so that renewals go on while a sign-in waits for its person.

A restart changes nothing that a person has decided on the server: what is paused stays paused, and a schedule
that is switched off or edited stays so.
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
"""How an entry point begins that needs no checkout."""


def serve(accounts: Sequence[str] = ()) -> None:
    """Register the deployments on the Prefect server in use, and run what they schedule until interrupted.

    Args:
        accounts: The names of the credentials to serve; the one that `prefect.yaml` names if none is given.
    """
    deployments = [each for account in accounts or (None,) for each in package_deployments(account)]
    for deployment in deployments:
        _keep_what_people_set(deployment)
    server, ui = _shown(PREFECT_API_URL.value()), _shown(PREFECT_UI_URL.value())
    tell(f"Serving on the Prefect server at {server}, which people see at {ui}.")
    # Prefect would pause the schedules at the end, and they are left as they are found at the next start.
    run_until_interrupted(*deployments, pause_on_shutdown=False)


def package_deployments(credentials: str | None = None) -> list[RunnerDeployment]:
    """The deployments of the package's own flows; the example pipelines are not among them.

    Other accounts than the one of `prefect.yaml` have their own, which carry their name: `hourly-second`. So
    two processes never take a deployment from each other, which the one that came last would run, and with
    its own `ETRADE_*` variables.

    Args:
        credentials: The name of the credentials that all of them are for; None for those of `prefect.yaml`.
    """
    configured: list[dict[str, Any]] = YAML(typ="safe").load(_prefect_yaml().read_text())["deployments"]
    ours = [each for each in configured if each["entrypoint"].startswith(PACKAGE)]
    return [_deployment(each if credentials is None else _meant_for(credentials, each)) for each in ours]


def installed() -> dict[str, str]:
    """The installed package's version, as the step by which `prefect deploy` fills in `prefect.yaml`.

    Prefect imports the function in its own process, so it finds the package wherever `prefect` itself is
    installed. A shell command would need the same Python on the PATH.
    """
    return {"version": version("prefect-etrade")}


def _keep_what_people_set(deployment: RunnerDeployment) -> None:
    """Leave the pause and the schedules out of what is sent, where the server has the deployment already.

    Prefect 3.8 sends each field that was ever set: `paused=False` always, each schedule as active. The server
    then switches on what was off; and where one schedule has no slug, as one that was added in the UI, it
    deletes all of them and writes ours. A deployment without any schedule does get ours.
    """
    # Set, though it is the default: only so is it sent, and the server takes the deployment out of the queue
    # of a work pool that `prefect deploy` gave it. Otherwise a worker would run it too.
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
    """An address of the settings without the user and password that may stand in it."""
    return str(httpx.URL(address or "").copy_with(userinfo=b""))


def _prefect_yaml() -> Traversable:
    """The copy that the wheel carries; in a checkout, the file itself."""
    carried = files("etrade_flows") / "prefect.yaml"
    return carried if carried.is_file() else Path(__file__).resolve().parents[3] / "prefect.yaml"


def _meant_for(credentials: str, configured: dict[str, Any]) -> dict[str, Any]:
    """The same deployment for other credentials, under a name of its own."""
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
        # By module, as in prefect.yaml: a path would be taken relative to wherever this was started.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
