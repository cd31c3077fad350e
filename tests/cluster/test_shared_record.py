"""Machines that share only a Prefect server and a storage block reuse each other's renewals."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from prefect.filesystems import LocalFileSystem
from prefect.settings import get_current_settings
from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket
from pydantic import SecretStr

from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials
from etrade_tasks.sharing.record import record_key

RENEW = "/oauth/renew_access_token"
ASK = """
import sys
from prefect_etrade import active_session
print("reused" if active_session(sys.argv[1]).reused else "renewed")
"""


@pytest.fixture
def s3_bucket(prefect_server: None) -> Iterator[str]:
    """The name of a storage block for an S3 bucket in moto's server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "not-a-key", "aws_secret_access_key": "not-a-secret"}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="records")
    credentials = AwsCredentials(
        aws_access_key_id=keys["aws_access_key_id"],
        aws_secret_access_key=SecretStr(keys["aws_secret_access_key"]),
        region_name="us-east-1",
        aws_client_parameters=AwsClientParameters(endpoint_url=url),
    )
    name = f"s3-{uuid.uuid4().hex[:8]}"
    S3Bucket(bucket_name="records", credentials=credentials).save(name, _sync=True)
    yield f"s3-bucket/{name}"
    server.stop()


@pytest.fixture
def shared_folder(prefect_server: None, tmp_path: Path) -> str:
    """The name of a storage block for a folder that all machines share."""
    name = f"folder-{uuid.uuid4().hex[:8]}"
    LocalFileSystem(basepath=str(tmp_path / "shared")).save(name, _sync=True)
    return f"local-file-system/{name}"


def machine(home: Path, block: str, storage: str) -> str:
    """`renewed` or `reused`, as a process with its own Prefect home reports it."""
    own = {
        "PREFECT_API_URL": get_current_settings().api.url,
        "PREFECT_HOME": str(home),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": storage,
    }
    command = [sys.executable, "-c", ASK, block]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["s3_bucket", "shared_folder"])
def storage(request: pytest.FixtureRequest) -> str:
    """The name of the storage block in which both machines keep results."""
    return request.getfixturevalue(request.param)


def test_a_renewal_answers_for_another_machine(
    simulator: Simulator, block: str, credentials: ETradeCredentials, tmp_path: Path, storage: str
) -> None:
    """A machine reuses another's renewal if both are configured with the same storage block."""
    assert "renewed" == machine(tmp_path / "one", block, storage)
    assert "reused" == machine(tmp_path / "other", block, storage)
    assert 1 == len(simulator.calls(RENEW))
    assert not (tmp_path / "other" / "storage" / record_key(credentials)).exists()
