"""What the distribution promises to those who install it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import get_current_settings

import etrade_tasks

pytestmark = pytest.mark.starts_programs

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("package", ["etrade_flows", "etrade_tasks", "etrade_simulator"])
def test_public_names_are_documented_and_typed(package: str) -> None:
    """Every public name can be imported and has a docstring, and each package says that it is typed."""
    module = importlib.import_module(package)
    assert [] == [name for name in module.__all__ if not getattr(module, name).__doc__]
    assert (Path(module.__file__).parent / "py.typed").exists()


def test_prefect_finds_the_collection() -> None:
    """Prefect loads the package as a collection, so it knows the block without any registration."""
    (collection,) = (e for e in entry_points(group="prefect.collections") if e.name == "etrade")
    assert collection.load() is etrade_tasks


def test_server_knows_the_block_without_a_register_call(client: SyncPrefectClient) -> None:
    """A fresh server lists the block type, with its name and its logo."""
    block_type = client.read_block_type_by_slug("etrade-credentials")
    assert "E*TRADE Credentials" == block_type.name
    assert block_type.logo_url is not None


def test_block_can_be_registered_by_module(prefect_server: None, run_python: Callable[..., str]) -> None:
    """`prefect block register -m etrade_tasks` works, for a server that does not have the package."""
    command = ("-m", "prefect", "block", "register", "-m", "etrade_tasks")
    assert "E*TRADE Credentials" in run_python(*command, PREFECT_API_URL=get_current_settings().api.url)


def test_version_is_written_once() -> None:
    """No source or deployment file repeats the version in pyproject.toml."""
    repeated = re.compile(rf"(?<![\d.]){re.escape(version('prefect-etrade'))}(?![\d.])")
    places = [ROOT / "prefect.yaml", *(ROOT / "deployments").iterdir()]
    for folder in ("tasks", "flows", "simulator"):
        places += (ROOT / folder).rglob("*.py")
    assert [] == [str(place) for place in places if place.is_file() and repeated.search(place.read_text())]


def test_fastapi_is_capped_for_plain_installs() -> None:
    """A plain install never gets a FastAPI that breaks the installed Prefect."""
    assert "fastapi<0.151" in requires("prefect-etrade")


def test_constraints_are_versions_alone() -> None:
    """The pinned constraints are versions only, without an address or path."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [] == [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line)]
    assert len(pins) > 50


def test_every_test_says_what_it_states() -> None:
    """Each test has a docstring of one sentence."""
    import ast

    silent = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node) or ""
                if not text.endswith(".") or "\n\n" in text:
                    silent.append(f"{path.name}:{node.name}")
    assert [] == silent
