"""The guide names every setting, every deployment and only files and programs that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from etrade_tasks.credentials import ENVIRONMENT_VARIABLES
from etrade_tasks.settings import RenewalSettings, Span

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "deployments" / "README.md").read_text()
GROWING = (ROOT / "deployments" / "growing.md").read_text()
SETTINGS = GUIDE.partition("## Settings")[2]
ROWS = dict(re.findall(r"^\| `(ETRADE_\w+)` \| (.+?) \|", SETTINGS, re.MULTILINE))


def test_the_table_of_settings_is_complete() -> None:
    """The guide lists each variable that the package reads, and no other."""
    tuned = {f"ETRADE_{name.upper()}" for name in RenewalSettings.model_fields}
    assert tuned | set(ENVIRONMENT_VARIABLES) == set(ROWS)


def test_no_other_variable_is_read_anywhere() -> None:
    """The package's sources name no `ETRADE_*` variable that the guide does not list."""
    sources = [path for folder in ("tasks", "flows") for path in (ROOT / folder).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"\bETRADE_[A-Z_]+\b", path.read_text())}
    assert set() == {name for name in named if not name.endswith("_")} - set(ROWS)


def test_the_spans_of_the_table_are_the_defaults() -> None:
    """Each duration in the table is the setting's default."""
    read = TypeAdapter(Span).validate_python
    fields = RenewalSettings.model_fields
    shown = {name: ROWS[f"ETRADE_{name.upper()}"].strip("`") for name in fields}
    spans = {name: read(text) for name, text in shown.items() if text.startswith("PT")}
    assert {"deadline", "first_backoff", "reuse_window"} == set(spans)
    assert {name: fields[name].default for name in spans} == spans


def test_the_guide_names_every_deployment(configured: dict[str, Any]) -> None:
    """The guide's first table has a row for each deployment."""
    named = re.findall(r"^\| `[\w-]+/([\w-]+)` \|", GUIDE, re.MULTILINE)
    assert [each["name"] for each in configured["deployments"]] == named


@pytest.mark.parametrize(
    ("page", "file"),
    [(GUIDE, "deployments/compose.yaml"), (GROWING, "deployments/automations/dead_runs.yaml")],
    ids=["guide", "growing"],
)
def test_links_and_files_of_a_page_exist(page: str, file: str) -> None:
    """Each link within a page leads to a heading, and each file of this folder that it names exists."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-").replace(",", "") for heading in headings}
    assert set() == set(re.findall(r"\]\(#([\w-]+)\)", page)) - anchors
    named = set(re.findall(r"deployments/[\w/]+\.\w+", page))
    assert file in named
    assert [] == [name for name in named if not (ROOT / name).exists()]


def test_variables_of_the_page_on_growing_are_read(read_variables: set[str]) -> None:
    """Somebody reads each variable that the page on growing names."""
    variables = set(re.findall(r"\b(?:PREFECT|ETRADE)_[A-Z_]+\b", GROWING))
    assert set() == variables - read_variables - set(ROWS)
