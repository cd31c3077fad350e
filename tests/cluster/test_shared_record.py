"""Machines that share only a Prefect server and an S3 bucket reuse each other's renewals."""

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
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    get_current_settings,
    temporary_settings,
)
from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket
from pydantic import SecretStr

from etrade_flows import active_session
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


@pytest.mark.usefixtures("empty_memory")
def test_a_renewal_answers_for_another_machine(
    simulator: Simulator, block: str, credentials: ETradeCredentials, tmp_path: Path, s3_bucket: str
) -> None:
    """A process with a Prefect home of its own reuses a renewal if both keep their results in one bucket."""
    with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: s3_bucket}):
        assert active_session(block).reused is False
    own = {
        "PREFECT_API_URL": get_current_settings().api.url,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": s3_bucket,
    }
    command = [sys.executable, "-c", ASK, block]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
    assert ("reused\n", 0) == (done.stdout, done.returncode), done.stderr
    assert 1 == len(simulator.calls(RENEW))
    assert not (tmp_path / "storage" / record_key(credentials)).exists()
