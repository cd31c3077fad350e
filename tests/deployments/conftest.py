"""What the deployment tests share: a server with this checkout deployed to it, and a worker."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prefect.server.utilities import encryption
from prefect.settings import Settings, get_current_settings
from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings
from prefect_redis.client import RedisMessagingSettings

from etrade_tasks.credentials import ENVIRONMENT_VARIABLES
from etrade_tasks.settings import RenewalSettings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def read_variables() -> set[str]:
    """Every variable that Prefect, `prefect-redis` or this package reads, in the versions installed here."""

    def supported(schema: object) -> set[str]:
        if isinstance(schema, dict):
            own = set(schema.get("supported_environment_variables", []))
            return own.union(*map(supported, schema.values()))
        return set().union(*map(supported, schema)) if isinstance(schema, list) else set()

    own = {f"ETRADE_{name.upper()}" for name in RenewalSettings.model_fields}
    redis = {
        f"{kind.model_config['env_prefix']}{name.upper()}"
        for kind in (RedisMessagingSettings, RedisWorkerCleanupQueueSettings)
        for name in kind.model_fields
    }
    unlisted = "PREFECT_SERVER_ENCRYPTION_KEY"  # not one of Prefect's settings
    assert f'"{unlisted}"' in inspect.getsource(encryption)
    return supported(Settings.model_json_schema()) | own | redis | {*ENVIRONMENT_VARIABLES, unlisted}


@pytest.fixture(scope="session")
def prefect(prefect_server: None, run_python: Callable[..., str]) -> Callable[..., str]:
    """Runs a Prefect command in the checkout, against the test's server."""
    return partial(run_python, "-m", "prefect", cwd=ROOT, PREFECT_API_URL=get_current_settings().api.url)


@pytest.fixture(scope="session")
def make_deploy() -> list[str]:
    """The command `make deploy`, with the Python of this test."""
    return ["make", "--assume-old=.venv/.dev", f"BIN={Path(sys.executable).parent}", "deploy"]


@pytest.fixture(scope="session")
def deployed(prefect_server: None, make_deploy: list[str]) -> str:
    """What `make deploy` printed on a server that had nothing."""
    variables = os.environ | {"PREFECT_API_URL": get_current_settings().api.url}
    done = subprocess.run(make_deploy, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def worker(deployed: str, run_process: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of a process worker that was started outside the checkout."""
    command = ("-m", "prefect", "worker", "start", "--pool", "etrade", "--type", "process")
    with run_process(*command, cwd=tmp_path_factory.mktemp("worker")) as log:
        yield log
