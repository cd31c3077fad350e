"""How Prefect keeps a secret that a deployment's runs need as an environment variable."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker
from ruamel.yaml import YAML

CANARY = "redis://:fake-canary@127.0.0.1:9/0"
GUIDE = (Path(__file__).resolve().parents[2] / "deployments" / "README.md").read_text()
REFERENCE = json.loads(re.search(r"```json\n(.*?)```", GUIDE, re.DOTALL)[1])


@pytest.fixture
def secret(prefect_server: None) -> None:
    """Saves the block that the guide names."""
    Secret(value=CANARY).save("etrade-redis", overwrite=True)


@pytest.mark.usefixtures("secret")
def test_work_pool_keeps_a_reference_that_its_worker_fills_in(client: SyncPrefectClient) -> None:
    """With the guide's template the server stores only the reference, and a run gets the secret."""
    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["env"]["default"] = REFERENCE
    pool = client.create_work_pool(
        WorkPoolCreate(name="with-a-secret", type="process", base_job_template=template), overwrite=True
    )

    async def filled_in() -> ProcessJobConfiguration:
        async with get_client() as asked:
            return await ProcessJobConfiguration.from_template_and_values(
                pool.base_job_template, values={}, client=asked
            )

    assert CANARY not in client.read_work_pool("with-a-secret").model_dump_json()
    assert {"ETRADE_LOCK_REDIS_URL": CANARY} == asyncio.run(filled_in()).env
    client.delete_work_pool("with-a-secret")


@pytest.mark.usefixtures("secret")
def test_prefect_deploy_stores_the_secret_itself(
    client: SyncPrefectClient, prefect: Callable[..., str], tmp_path: Path
) -> None:
    """`prefect deploy` replaces a reference in the file with the secret, so the guide warns against it."""
    file = tmp_path / "prefect.yaml"
    deployment = {
        "name": "leaks",
        "entrypoint": "etrade_flows.renew_access_token:renew_access_token",
        "pull": [],
        "work_pool": {"name": "leaking", "job_variables": {"env": REFERENCE}},
    }
    client.create_work_pool(WorkPoolCreate(name="leaking", type="process"), overwrite=True)
    YAML(typ="safe").dump({"name": "prefect-etrade", "deployments": [deployment]}, file)
    prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    found = client.read_deployment_by_name("renew-access-token/leaks")
    client.delete_deployment(found.id)
    client.delete_work_pool("leaking")
    assert {"ETRADE_LOCK_REDIS_URL": CANARY} == found.job_variables["env"]
