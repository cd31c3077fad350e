"""The values for Prefect's Helm charts, checked without the charts and without a cluster.

The schemas below are the parts of the charts' own schemas that the values use; they refuse every other key.
So a mistyped or misplaced key fails here, where Helm would ignore it or stop. Nothing is rendered, and no
pod starts. What the charts pass on to containers is checked against the installed versions.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deployments" / "kubernetes"
SERVER, WORKER = (YAML(typ="safe").load(FOLDER / f"{name}.yaml") for name in ("server", "worker"))

Schema = dict[str, Any]


def keys(**properties: Schema) -> Schema:
    """An object with these keys and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


TEXT, FLAG, NUMBER = ({"type": kind} for kind in ("string", "boolean", "integer"))
VARIABLE = keys(name=TEXT, value=TEXT) | {"required": ["name", "value"]}
VARIABLES = {"type": "array", "items": VARIABLE}
AMOUNTS = keys(cpu=TEXT, memory=TEXT)
RESOURCES = keys(requests=AMOUNTS, limits=AMOUNTS)
SECONDS = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold")
PROBE = keys(enabled=FLAG, config=keys(**dict.fromkeys(SECONDS, NUMBER)))
AUTH = keys(enabled=FLAG, authString=TEXT, existingSecret=TEXT)
IMAGE = keys(repository=TEXT, prefectTag=TEXT, pullPolicy=TEXT)
SWITCH = keys(enabled=FLAG)

OF_THE_SERVER = keys(
    **{"global": keys(prefect=keys(image=IMAGE, env=VARIABLES))},
    migrations=SWITCH,
    server=keys(
        replicaCount=NUMBER,
        basicAuth=AUTH,
        uiConfig=keys(prefectUiApiUrl=TEXT),
        env=VARIABLES,
        extraEnvVarsSecret=TEXT,
        livenessProbe=PROBE,
        readinessProbe=PROBE,
        resources=RESOURCES,
    ),
    backgroundServices=keys(
        runAsSeparateDeployment=FLAG,
        env=VARIABLES,
        extraEnvVarsSecret=TEXT,
        messaging=keys(
            broker=TEXT, cache=TEXT, redis=keys(host=TEXT, port=NUMBER, db=NUMBER, username=TEXT, ssl=FLAG)
        ),
        resources=RESOURCES,
    ),
    secret=keys(create=FLAG, name=TEXT),
    postgresql=SWITCH,
    redis=SWITCH,
)

OF_THE_WORKER = keys(
    worker=keys(
        replicaCount=NUMBER,
        image=IMAGE,
        config=keys(workPool=TEXT, type=TEXT, installPolicy=TEXT, limit=NUMBER, queryInterval=NUMBER),
        apiConfig={"enum": ["cloud", "selfManagedCloud", "selfHostedServer"]},
        selfHostedServerApiConfig=keys(apiUrl=TEXT, basicAuth=AUTH),
        extraEnvVarsSecret=TEXT,
        extraEnvVars=VARIABLES,
        livenessProbe=PROBE,
        resources=RESOURCES,
    ),
    role=keys(create=FLAG),
    rolebinding=keys(create=FLAG),
)


@pytest.mark.parametrize(
    ("values", "schema"), [(SERVER, OF_THE_SERVER), (WORKER, OF_THE_WORKER)], ids=["server", "worker"]
)
def test_values_are_those_that_the_chart_knows(values: dict[str, Any], schema: Schema) -> None:
    """The chart knows the name, the place and the type of each value."""
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(values)


def test_variables_are_read_by_somebody(read_variables: set[str]) -> None:
    """Some installed package reads every variable that a container gets or that a secret shall hold."""
    text = "".join((FOLDER / name).read_text() for name in ("server.yaml", "worker.yaml"))
    named = set(re.findall(r"^ *#.*\b((?:PREFECT|ETRADE)_[A-Z_]+)", text, re.MULTILINE))
    named |= set(re.findall(r"\bHolds ([A-Z_]+)", text))
    assert {"ETRADE_LOCK_REDIS_URL", "PREFECT_SERVER_ENCRYPTION_KEY"} < named
    given = [*SERVER["global"]["prefect"]["env"], *WORKER["worker"]["extraEnvVars"]]
    assert set() == (named | {each["name"] for each in given}) - read_variables


def test_no_secret_is_written_down() -> None:
    """The values name secrets, but contain none."""
    text = "".join(line for name in ("server", "worker") for line in _lines(FOLDER / f"{name}.yaml"))
    assert [] == re.findall(r"(?i)authString:|password:|://[^\s/]+:[^\s/]+@", text)


def test_pods_have_the_same_prefect() -> None:
    """Servers, services and workers run one image, with the pinned Prefect and this package's version."""
    image = SERVER["global"]["prefect"]["image"]
    assert image == WORKER["worker"]["image"]
    (pinned,) = re.findall(r"^prefect==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"{pinned}-{ours}" == image["prefectTag"]
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert f"{image['repository']}:{image['prefectTag']} " in dockerfile
    assert re.search(rf"^FROM prefecthq/prefect:{re.escape(pinned)}-python3\.\d+$", dockerfile, re.MULTILINE)


def test_the_image_holds_the_same_as_the_other() -> None:
    """The image has the folders and extras of the one that Compose builds, and leaves out the same files."""
    wanted, found = (
        [line for line in _lines(folder / "Dockerfile") if line.startswith(("COPY", "RUN pip"))]
        for folder in (FOLDER.parent, FOLDER)
    )
    assert wanted == [line.replace(" --no-cache-dir", "") for line in found]
    ignored, other = (folder / "Dockerfile.dockerignore" for folder in (FOLDER, FOLDER.parent))
    assert other.read_text() == ignored.read_text()


def test_server_and_services_are_apart() -> None:
    """The background services run once, apart from the API servers, of which there can be many."""
    assert SERVER["backgroundServices"]["runAsSeparateDeployment"] is True
    assert SERVER["server"]["replicaCount"] >= 2
    # The chart requires such a tag if the services run separately.
    assert re.match(r"\d+\.\d+\.\d+", SERVER["global"]["prefect"]["image"]["prefectTag"])


def test_workers_fit_the_servers_and_the_deployments(configured: dict[str, Any]) -> None:
    """Workers log in with the password that the servers ask for, and poll the pool that is deployed to."""
    worker = WORKER["worker"]
    assert SERVER["server"]["basicAuth"] == worker["selfHostedServerApiConfig"]["basicAuth"]
    assert {worker["config"]["workPool"]} == {each["work_pool"]["name"] for each in configured["deployments"]}


def _lines(path: Path) -> list[str]:
    """The lines of a file, without comments."""
    return [line for line in path.read_text().splitlines(keepends=True) if not line.lstrip().startswith("#")]
