"""The Prefect server as the commands reach it: by TLS, and without a proxy on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLOUD_API_URL,
    temporary_settings,
)

from etrade_flows.cli import app as cli
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health
from etrade_flows.health.server import check_server
from etrade_flows.runs.server import prefect_reached, spare_this_machine_the_proxy
from etrade_tasks.errors import PrefectUnavailable

pytestmark = [pytest.mark.starts_programs, pytest.mark.usefixtures("quick_connections")]


@pytest.mark.parametrize(
    ("encrypts", "reason", "setting"),
    [
        (True, "TLS: self-signed certificate", "PREFECT_API_SSL_CERT_FILE"),
        (False, "TLS: ", "PREFECT_API_URL"),
    ],
    ids=["signed by nobody", "plain HTTP"],
)
def test_a_server_whose_tls_fails_is_told(
    certificate: Any, serve: Any, encrypts: bool, reason: str, setting: str
) -> None:
    """The error and the doctor give OpenSSL's reason, and name the setting that a person corrects."""
    server = serve(context=certificate().context if encrypts else None)
    with temporary_settings({PREFECT_API_URL: f"{server.url.replace('http:', 'https:')}/api"}):
        with pytest.raises(PrefectUnavailable) as refused, prefect_reached():
            pass
        finding = check_server(Facts("main"))
    for said, remedy in ((refused.value.message, refused.value.advice), (finding.says, finding.remedy)):
        assert reason in said
        assert setting in remedy


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_wrong_file_of_certificates_is_told(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the file of certificates is missing or holds none, the error says so and names its settings."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    wrong = {PREFECT_API_URL: "https://127.0.0.1:9/api", PREFECT_API_SSL_CERT_FILE: str(file)}
    with temporary_settings(wrong):
        finding = check_server(Facts("main"))
        with pytest.raises(SystemExit):
            cli.main(["status"])
    said = capsys.readouterr().err
    assert "TLS: its file of certificates cannot be used" in said
    assert "TLS: its file of certificates cannot be used" in finding.says
    assert f"Next: {finding.remedy}" in said
    assert "PREFECT_API_SSL_CERT_FILE" in finding.remedy


@pytest.mark.parametrize(
    ("status", "says", "remedy"),
    [
        pytest.param(None, "ConnectError", "prefect server start", id="nobody listens"),
        pytest.param(401, "refuses this machine (status 401)", "PREFECT_API_AUTH_STRING", id="401"),
        pytest.param(403, "refuses this machine (status 403)", "PREFECT_API_AUTH_STRING", id="403"),
        pytest.param(422, "does not answer (status 422)", "prefect server start", id="broken"),
    ],
)
def test_a_server_that_does_not_serve_is_told(serve: Any, status: int | None, says: str, remedy: str) -> None:
    """The doctor shows the error's class or the status, and each has its own remedy."""
    url = serve(status=status).url if status else "http://127.0.0.1:9"
    retries = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: 5.0}
    with temporary_settings({PREFECT_API_URL: f"{url}/api", **retries}):
        finding = check_server(Facts("main"))
    assert (Health.PROBLEM, True) == (finding.verdict, says in finding.says)
    assert remedy in finding.remedy


def test_cloud_that_refuses_asks_for_a_login(serve: Any) -> None:
    """A finding about Prefect Cloud calls it by name, and shows neither account nor workspace."""
    url = serve(status=401).url
    workspace = f"{url}/accounts/fake-account-id/workspaces/fake-workspace-id"
    with temporary_settings({PREFECT_CLOUD_API_URL: url, PREFECT_API_URL: workspace}):
        finding = check_server(Facts("main"))
    assert ("run `prefect cloud login`.", True) == (finding.remedy, "Prefect Cloud" in finding.says)
    assert "fake-" not in finding.says


# Proxies ------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets these proxy variables and no others, and restores all of them after the test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    return os.environ.update


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10"])
def test_a_command_reaches_a_server_here(
    environment: Callable[..., None], serve: Any, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command asks no proxy for a Prefect server on this machine, whatever its loopback address."""
    proxy, server = serve(status=502), serve(host=host, status=401)
    environment(http_proxy=proxy.url, NO_PROXY="example.com")
    with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}), pytest.raises(SystemExit):
        cli.main(["renew"])
    assert "status 401" in capsys.readouterr().err
    assert [] == proxy.asked


def test_what_needs_no_proxy_is_kept(environment: Callable[..., None]) -> None:
    """Hosts that the user has excluded from the proxy stay excluded, in the variable that counts."""
    environment(http_proxy="http://proxy.example", NO_PROXY="lost.example", no_proxy="example.com, ::1")
    spare_this_machine_the_proxy()
    assert "example.com, ::1,localhost,127.0.0.1,::1" == os.environ["no_proxy"]


@pytest.mark.parametrize("variables", [{}, {"http_proxy": "http://proxy.example", "no_proxy": "*"}])
def test_nothing_is_set_without_need(environment: Callable[..., None], variables: dict[str, str]) -> None:
    """If no proxy is set, or none is used for any host, the environment stays unchanged."""
    environment(**variables)
    before = dict(os.environ)
    spare_this_machine_the_proxy()
    assert before == dict(os.environ)


def test_prefect_itself_asks_the_proxy(environment: Callable[..., None], serve: Any) -> None:
    """Prefect's client asks the proxy even for this machine, which is why the commands prevent that."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    proxy = serve(status=404)
    environment(http_proxy=proxy.url)
    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        client.api_healthcheck()
    assert [] != proxy.asked
