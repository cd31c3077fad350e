"""What the doctor says of the packages that are installed."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health
from etrade_flows.health.server import check_httpx2, check_versions

FACTS = Facts("nobody")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages come before those that are really installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def pretend(installed: Path, name: str, number: str) -> None:
    metadata = installed / f"{name}-{number}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_versions_are_told() -> None:
    """The versions installed are told in one line, this package's and Prefect's among them."""
    finding = check_versions(FACTS)
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
    """A version that this package does not accept is told with what it breaks and what to install."""
    pretend(installed, name, number)
    finding = check_versions(FACTS)
    assert (Health.PROBLEM, remedy) == (finding.verdict, finding.remedy)
    assert f"{name} {number}" in finding.says
    assert cause in finding.says


def test_all_clashes_are_mended_at_once(installed: Path) -> None:
    """Several clashes are one finding, and one command mends them."""
    pretend(installed, "fastapi", "0.152.0")
    pretend(installed, "sqlalchemy", "2.1.1")
    assert "pip install 'fastapi<0.151' 'sqlalchemy<2.1'" == check_versions(FACTS).remedy


def test_httpx2_beside_authlib_is_a_warning(installed: Path) -> None:
    """With httpx2 there, the doctor warns of Authlib's integration, which this package leaves alone."""
    assert Health.OK is check_httpx2(FACTS).verdict
    (installed / "httpx2.py").touch()
    finding = check_httpx2(FACTS)
    assert Health.WARNING is finding.verdict
    assert "This package does not use that module" in finding.says


def test_httpx2_beside_an_older_authlib_is_none(installed: Path) -> None:
    """An Authlib that does not know httpx2 is no reason for a warning."""
    (installed / "httpx2.py").touch()
    pretend(installed, "authlib", "1.7.2")
    assert Health.OK is check_httpx2(FACTS).verdict
