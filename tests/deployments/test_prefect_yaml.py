"""prefect.yaml has no key that Prefect would silently ignore, and what it says fits this package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from pydantic import BaseModel
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FILES = {name: YAML(typ="safe").load(ROOT / name) for name in ("prefect.yaml", "deployments/local.yaml")}
DEPLOYMENTS = {
    f"{file}:{each['name']}": each for file, content in FILES.items() for each in content["deployments"]
}


def unknown_keys(content: dict[str, Any]) -> Iterator[str]:
    """Every key of a deployment file that Prefect would ignore."""
    yield from _unknown("", content, PrefectYamlModel, "definitions")
    for each in content["deployments"]:
        name = each["name"]
        yield from _unknown(name, each, DeploymentConfig)
        yield from _unknown(f"{name}.work_pool", each["work_pool"], WorkPoolConfig)
        limit = each.get("concurrency_limit", {})
        yield from _unknown(f"{name}.concurrency_limit", limit, ConcurrencyLimitSpec)
        for schedule in each.get("schedules", []):
            yield from _unknown(f"{name}.schedules", schedule, RawScheduleConfig)


def _unknown(place: str, found: dict[str, Any], model: type[BaseModel], *also: str) -> list[str]:
    known = {field.alias or name for name, field in model.model_fields.items()} | {*also}
    return [f"{place}.{key}" for key in found if key not in known]


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_every_key_is_one_that_prefect_reads(content: dict[str, Any]) -> None:
    """No key is misspelled or misplaced."""
    assert [] == list(unknown_keys(content))


def test_a_misspelled_key_would_be_found() -> None:
    """The check above finds a key that Prefect does not know, at each level."""
    wrong = {
        "pul": [],
        "deployments": [
            {"name": "a", "descripton": "", "work_pool": {"nme": ""}}
            | {"concurrency_limit": {"strategy": ""}, "schedules": [{"crn": ""}]}
        ],
    }
    expected = [".pul", "a.descripton", "a.work_pool.nme", "a.concurrency_limit.strategy", "a.schedules.crn"]
    assert expected == list(unknown_keys(wrong))


@pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_a_deployment_explains_itself(deployment: dict[str, Any]) -> None:
    """Each deployment has a description, tags that say what kind it is, and parameters that are checked."""
    assert len(deployment["description"]) > 80
    assert "etrade" == deployment["tags"][0]
    assert len(deployment["tags"]) > 1
    assert deployment["enforce_parameter_schema"] is True


def test_live_use_takes_one_edit() -> None:
    """The name of the credentials block is set in one place, and every deployment takes it from there."""
    text = (ROOT / "prefect.yaml").read_text()
    assert 1 == len(re.findall(r"^ +credentials: &credentials \S+$", text, re.MULTILINE))
    edited = YAML(typ="safe").load(text.replace("&credentials etrade", "&credentials mine"))
    assert ["mine"] * 6 == [each["parameters"]["credentials"] for each in edited["deployments"]]
