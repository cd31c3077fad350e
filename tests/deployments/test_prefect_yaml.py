"""prefect.yaml has no key that Prefect would silently ignore, and what it says fits this package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import signature
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
from prefect.client.schemas.objects import ConcurrencyOptions
from pydantic import BaseModel
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FILES = {name: YAML(typ="safe").load(ROOT / name) for name in ("prefect.yaml", "deployments/local.yaml")}


def full_name(deployment: dict[str, Any]) -> str:
    """The name by which callers know a deployment: its flow's name, a slash, its own name."""
    function = deployment["entrypoint"].rpartition(":")[2]
    return f"{function.replace('_', '-')}/{deployment['name']}"


DEPLOYMENTS = {
    f"{file}:{full_name(each)}": each for file, content in FILES.items() for each in content["deployments"]
}
NAMES = [
    "renew-access-token/hourly",
    "renew-access-token/on-demand",
    "sign-in/sign-in",
    "sign-out/sign-out",
    "nightly-positions/weeknights",
    "market-quotes/market-hours",
]
RENEWALS = [
    "prefect.yaml:renew-access-token/hourly",
    "prefect.yaml:renew-access-token/on-demand",
    "deployments/local.yaml:renew-access-token/every-minute",
]

every_file = pytest.mark.parametrize("content", FILES.values(), ids=FILES)
every_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=DEPLOYMENTS)


def every_deployment_with(key: str) -> pytest.MarkDecorator:
    """Parametrizes a test with the deployments that have this key."""
    found = {name: each for name, each in DEPLOYMENTS.items() if each.get(key)}
    return pytest.mark.parametrize("deployment", found.values(), ids=found)


every_renewal = pytest.mark.parametrize("name", RENEWALS)


def known(model: type[BaseModel]) -> set[str]:
    """The keys that a model reads."""
    return {field.alias or name for name, field in model.model_fields.items()}


def unknown_keys(content: dict[str, Any]) -> Iterator[str]:
    """Every key of a deployment file that Prefect would ignore."""
    yield from _unknown("", content, known(PrefectYamlModel) | {"definitions"})
    for each in content["deployments"]:
        name = each["name"]
        yield from _unknown(name, each, known(DeploymentConfig))
        yield from _unknown(f"{name}.work_pool", each["work_pool"], known(WorkPoolConfig))
        limit = known(ConcurrencyLimitSpec)
        yield from _unknown(f"{name}.concurrency_limit", each.get("concurrency_limit", {}), limit)
        for schedule in each.get("schedules", []):
            yield from _unknown(f"{name}.schedules", schedule, known(RawScheduleConfig))


def _unknown(place: str, found: dict[str, Any], keys: set[str]) -> list[str]:
    return [f"{place}.{key}" for key in found if key not in keys]


@every_file
def test_every_key_is_one_that_prefect_reads(content: dict[str, Any]) -> None:
    """No key is misspelled or misplaced."""
    assert [] == list(unknown_keys(content))


def test_a_misspelled_key_would_be_found() -> None:
    """The check above finds a key that Prefect does not know, at each level."""
    wrong = {
        "pul": [],
        "deployments": [
            {
                "name": "a",
                "descripton": "",
                "work_pool": {"nme": ""},
                "concurrency_limit": {"strategy": ""},
                "schedules": [{"crn": ""}],
            }
        ],
    }
    expected = [".pul", "a.descripton", "a.work_pool.nme", "a.concurrency_limit.strategy", "a.schedules.crn"]
    assert expected == list(unknown_keys(wrong))


@every_file
def test_prefect_accepts_the_values(content: dict[str, Any]) -> None:
    """Every value has the type that Prefect expects, and every schedule is valid."""
    parsed = PrefectYamlModel.model_validate(content)
    assert len(content["deployments"]) == len(parsed.deployments)
    for deployment in content["deployments"]:
        for schedule in deployment.get("schedules", []):
            RawScheduleConfig.model_validate(schedule)


@every_deployment_with("concurrency_limit")
def test_concurrency_options_are_in_prefects_range(deployment: dict[str, Any]) -> None:
    """The server accepts the collision strategy and the grace period of each limit."""
    limit = dict(deployment["concurrency_limit"])
    assert 1 == limit.pop("limit")
    ConcurrencyOptions.model_validate(limit)


@every_deployment
def test_a_deployment_explains_itself(deployment: dict[str, Any]) -> None:
    """Each deployment has a description, tags that say what kind it is, and parameters that are checked."""
    assert len(deployment["description"]) > 80
    assert "etrade" == deployment["tags"][0]
    assert len(deployment["tags"]) > 1
    assert deployment["enforce_parameter_schema"] is True


@every_deployment
def test_a_deployment_takes_the_version_from_the_package(deployment: dict[str, Any]) -> None:
    """Each deployment takes its version from the step that reads it from the installed package."""
    assert "{{ package.version }}" == deployment["version"]


@every_deployment_with("schedules")
def test_a_schedule_has_a_slug_and_a_zone(deployment: dict[str, Any]) -> None:
    """Each schedule has a name, so that it can be paused by name, and a time zone."""
    schedules = deployment["schedules"]
    slugs = [schedule["slug"] for schedule in schedules]
    assert len(slugs) == len(set(slugs))
    assert [] == [schedule for schedule in schedules if "timezone" not in schedule]


def test_deployments_are_these() -> None:
    """The deployments have the documented names, which callers use."""
    assert NAMES == [full_name(each) for each in FILES["prefect.yaml"]["deployments"]]


@every_renewal
def test_a_renewal_runs_the_installed_flow(name: str) -> None:
    """The entrypoint of a renewal names the flow in the installed package."""
    module, function = DEPLOYMENTS[name]["entrypoint"].split(":")
    assert "renew-access-token" == getattr(import_module(module), function).name


@every_renewal
def test_a_renewal_writes_out_every_parameter(name: str) -> None:
    """A renewal sets every parameter of the flow, so that the run form shows what a run will use."""
    from etrade_flows import renew_access_token

    assert set(signature(renew_access_token.fn).parameters) == set(DEPLOYMENTS[name]["parameters"])


def test_live_use_takes_one_edit() -> None:
    """The name of the credentials block is set in one place, and every deployment takes it from there."""
    text = (ROOT / "prefect.yaml").read_text()
    assert 1 == len(re.findall(r"^ +credentials: &credentials \S+$", text, re.MULTILINE))
    edited = YAML(typ="safe").load(text.replace("&credentials etrade", "&credentials mine"))
    assert ["mine"] * 6 == [each["parameters"]["credentials"] for each in edited["deployments"]]


def test_the_renewal_runs_one_at_a_time_and_callers_as_they_come() -> None:
    """A second scheduled renewal is cancelled, but renewals on demand are not limited."""
    hourly, on_demand = (DEPLOYMENTS[name] for name in RENEWALS[:2])
    assert (1, "CANCEL_NEW") == (
        hourly["concurrency_limit"]["limit"],
        hourly["concurrency_limit"]["collision_strategy"],
    )
    assert "concurrency_limit" not in on_demand
