"""What the doctor says about the installed packages, the settings and the Prefect server."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    get_current_settings,
    temporary_settings,
)

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.health.place import Place, Server
from etrade_flows.health.server import (
    check_block_type,
    check_credentials,
    check_httpx2,
    check_server,
    check_server_version,
    check_settings,
    check_versions,
    compare,
)
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials
from etrade_tasks.credentials import environment_of

from .expecting import expect


@pytest.fixture
def facts(prefect_server: None) -> Facts:
    """Facts of credentials that do not exist."""
    return Facts("nobody")


def test_server_on_this_machine_answers(facts: Facts) -> None:
    """A server at a loopback address is on this machine, and the doctor shows the server's own version."""
    expect(check_server(facts), Health.OK, says="The Prefect server on this machine answers.")
    expect(check_server_version(facts), Health.OK, says=prefect.__version__)


def test_server_elsewhere_is_not_named(facts: Facts) -> None:
    """A server at any other address counts as another machine's, and the finding does not name the host."""
    port = get_current_settings().api.url.rpartition(":")[2]
    # The operating system reads this as 127.0.0.1; the doctor does not.
    with temporary_settings({PREFECT_API_URL: f"http://127.1:{port}"}):
        finding = check_server(facts)
    assert (Health.OK, "The Prefect server on another machine answers.") == (finding.verdict, finding.says)


def test_no_server_and_none_allowed_is_a_problem(facts: Facts) -> None:
    """Without an address and without a temporary server, there is no server to record anything."""
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}, restore_defaults={PREFECT_API_URL}):
        expect(check_server(facts), Health.PROBLEM, remedy="prefect server start")


def test_temporary_server_is_a_warning(facts: Facts) -> None:
    """A temporary server is a warning, because it runs no deployment."""
    facts.server = Server(Place.TEMPORARY)
    expect(check_server(facts), Health.WARNING)


@pytest.mark.parametrize(
    ("server", "verdict"),
    [
        ("3.8.8", Health.OK),
        ("3.10.0", Health.OK),
        ("3.8.7", Health.WARNING),
        ("2.20.1", Health.PROBLEM),
        ("4.0.0", Health.PROBLEM),
    ],
)
def test_versions_are_judged_as_prefect_does(server: str, verdict: Health) -> None:
    """An older server is a warning, one of another major version a problem, as for Prefect's own flows."""
    assert verdict is compare(server, "3.8.8").verdict


def test_block_type_is_registered_by_a_command(
    facts: Facts, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server does not know a saved block's type, or knows other fields, a command registers it."""
    expect(check_block_type(facts), Health.OK)
    register = "prefect block register -m etrade_tasks"
    monkeypatch.setattr(ETradeCredentials, "_calculate_schema_checksum", lambda: "sha256:" + "0" * 64)
    expect(check_block_type(facts), Health.WARNING, remedy=register)
    monkeypatch.setattr(ETradeCredentials, "_block_type_slug", "etrade-never-registered")
    expect(check_block_type(facts), Health.PROBLEM, remedy=register)


def test_block_is_found(block: str) -> None:
    """A block of this name is ok, and the finding shows its environment."""
    held = f"The block '{block}' holds a live key, well formed."
    expect(check_credentials(Facts(block)), Health.OK, says=held)


def test_environment_stands_in_for_a_block(
    simulator: Simulator, credentials_for: Any, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a block, complete ETRADE_* variables count as credentials."""
    for name, value in environment_of(credentials_for(simulator.sign_in("sandbox"))).items():
        monkeypatch.setenv(name, value)
    held = "The ETRADE_* variables, used instead of a block, hold a sandbox key"
    expect(check_credentials(facts), Health.OK, says=held)


def test_missing_credentials_are_made_by_a_command(facts: Facts) -> None:
    """Without a block and without variables, the remedy is the command that makes the block."""
    expect(check_credentials(facts), Health.PROBLEM, remedy="etrade-session login --credentials nobody")
    with pytest.raises(SkipCheck):
        _ = facts.credentials


def test_malformed_block_names_the_field(save: Callable[..., str]) -> None:
    """A field that cannot be used is named without its value."""
    finding = check_credentials(Facts(save("bad", api_url="http://fake-canary.example")))
    expect(finding, Health.PROBLEM, says="api_url")
    assert "fake-canary" not in finding.says + finding.remedy


def test_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding names the variables that are set."""
    monkeypatch.delenv("ETRADE_SIGN_IN_BY")
    expect(check_settings(Facts("nobody")), Health.OK)
    monkeypatch.setenv("ETRADE_REUSE_WINDOW", "PT30M")
    expect(check_settings(Facts("nobody")), Health.OK, says="Set here: ETRADE_REUSE_WINDOW.")


def test_malformed_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that cannot be read is a problem, and is named without its value."""
    monkeypatch.setenv("ETRADE_DEADLINE", "fake-canary")
    finding = check_settings(Facts("nobody"))
    expect(finding, Health.PROBLEM, says="ETRADE_DEADLINE")
    assert "fake-canary" not in finding.says


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages hide the ones that are really installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def pretend(installed: Path, name: str, number: str) -> None:
    metadata = installed / f"{name}-{number}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_versions_are_told() -> None:
    """The installed versions are shown in one line, with this package's and Prefect's among them."""
    finding = check_versions(Facts("nobody"))
    assert Health.OK is finding.verdict
    for name in ("prefect-etrade", "prefect", "fastapi", "sqlalchemy", "authlib", "httpx", "pydantic"):
        assert f"{name} {version(name)}" in finding.says


@pytest.mark.parametrize(
    ("name", "number", "cause", "remedy"),
    [
        ("fastapi", "0.151.0", "answers 422", "pip install 'fastapi<0.151'"),
        ("fastapi", "0.155.1", "fails at import", "pip install 'fastapi<0.151'"),
        ("sqlalchemy", "2.1.0b1", "schedules nothing", "pip install 'sqlalchemy<2.1'"),
        ("pydantic", "2.9.0", "pydantic 2.9.0 is not >=2.10", "pip install 'pydantic>=2.10'"),
    ],
)
def test_clash_is_a_problem_with_its_cause(
    installed: Path, name: str, number: str, cause: str, remedy: str
) -> None:
    """A version that this package does not accept is shown with what it breaks and what to install."""
    pretend(installed, name, number)
    finding = check_versions(Facts("nobody"))
    expect(finding, Health.PROBLEM, says=f"{name} {number} is not ", remedy=remedy)
    assert cause in finding.says


def test_all_clashes_are_mended_at_once(installed: Path) -> None:
    """Several clashes share one finding, and one command fixes them all."""
    pretend(installed, "fastapi", "0.152.0")
    pretend(installed, "sqlalchemy", "2.1.1")
    assert "pip install 'fastapi<0.151' 'sqlalchemy<2.1'" == check_versions(Facts("nobody")).remedy


def test_httpx2_beside_authlib_is_a_warning(installed: Path) -> None:
    """If httpx2 is installed, the doctor warns about Authlib's integration, which is not used here."""
    expect(check_httpx2(Facts("nobody")), Health.OK)
    (installed / "httpx2.py").touch()
    expect(check_httpx2(Facts("nobody")), Health.WARNING, says="This package does not use that module")


def test_httpx2_beside_an_older_authlib_is_none(installed: Path) -> None:
    """With an Authlib that does not know httpx2, there is no warning."""
    (installed / "httpx2.py").touch()
    pretend(installed, "authlib", "1.7.2")
    expect(check_httpx2(Facts("nobody")), Health.OK)
