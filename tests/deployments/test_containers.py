"""The container files name only what exists, as far as a test can tell without Docker."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_UI_URL, get_current_settings, temporary_settings
from prefect.utilities.urls import url_for
from ruamel.yaml import YAML

from etrade_tasks.settings import RenewalSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deployments"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FOLDER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = [name for name in SERVICES if name not in {"deploy", "migrate"}]
PROFILES = ("single", "cluster")
OURS = [name for name, each in SERVICES.items() if "build" in each]
RUN = "00000000-0000-4000-8000-000000000000"
OF_OTHERS = {"POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD", "DO_NOT_TRACK"}
BUILDER_WORDS = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"}

every_service = pytest.mark.parametrize("service", SERVICES)


HELP = """
import sys
from prefect.cli import app

for command in sys.argv[1:]:
    print("== next", flush=True)
    sys.argv = ["prefect", *command.split(), "--help"]
    try:
        app()
    except SystemExit as ended:
        if ended.code:
            raise
"""
"""Prints Prefect's help for several commands, because importing its command line takes seconds."""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, without comments and with lines joined."""
    text = "".join(f"{line}\n" for line in lines("Dockerfile")).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (each.partition(" ") for each in text.splitlines())]


def lines(name: str) -> list[str]:
    """The lines of a file beside the Dockerfile, without comments and empty lines."""
    found = (FOLDER / name).read_text().splitlines()
    return [line for line in found if line.strip() and not line.startswith("#")]


def of(word: str) -> list[str]:
    """The arguments of every instruction of this kind."""
    return [rest for found, rest in instructions() if found == word]


def commands(service: str) -> list[list[str]]:
    """The simple commands that a service runs, including its health check."""
    words = list(SERVICES[service].get("command", []))
    check = SERVICES[service].get("healthcheck", {}).get("test", [])[1:]
    if words[:2] == ["sh", "-c"]:
        parts = [part.split(">")[0].strip(" {};") for part in re.split(r"&&|\|\|", words[2])]
        return [*map(shlex.split, parts), check]
    return [each for each in (words, check) if each]


def prefect_commands() -> Iterator[list[str]]:
    """Every `prefect` command that a service runs, without the word `prefect`."""
    for service in OURS:
        for words in commands(service):
            if words and words[0] == "prefect":
                yield [word for word in words[1:] if word != "--no-prompt"]


def test_dockerfile_has_only_known_instructions() -> None:
    """The Dockerfile has only instructions that a builder knows, and begins with `FROM`."""
    words = [word for word, _ in instructions()]
    assert "FROM" == words[0]
    assert set() == set(words) - BUILDER_WORDS


def test_everything_that_the_image_copies_exists_and_is_let_in() -> None:
    """Each path that the Dockerfile copies is in the checkout, and the ignore file lets it through."""
    sources = [source for rest in of("COPY") for source in rest.split()[:-1]]
    allowed = {line[1:] for line in lines("Dockerfile.dockerignore") if line[:1] == "!"}
    assert [] == [source for source in sources if not (ROOT / source).exists()]
    assert allowed == set(sources)


def test_the_image_holds_what_a_build_of_the_package_needs() -> None:
    """The Dockerfile copies every file that the package's build reads before it runs that build."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"]}
    steps = [f"{word} {rest}" for word, rest in instructions()]
    install = next(n for n, step in enumerate(steps) if step.startswith("RUN pip install"))
    before = {source for step in steps[:install] if step.startswith("COPY") for source in step.split()[1:-1]}
    assert [] == [each for each in needed if before.isdisjoint({each, each.partition("/")[0]})]


def test_the_image_has_a_python_and_extras_that_the_package_has() -> None:
    """The package supports the Python of the base image, and has every extra that the image installs."""
    project, (base,) = PROJECT["project"], of("FROM")
    (install,) = (rest for rest in of("RUN") if rest.startswith("pip install"))
    named = re.search(r'"\.\[([\w,]+)\]"', install).group(1).split(",")
    assert [] == [name for name in named if name not in project["optional-dependencies"]]
    python = re.match(r"python:([0-9.]+)-", base).group(1)
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]


def test_the_image_does_not_run_as_root() -> None:
    """The Dockerfile ends by switching to the user that it has created."""
    steps = [(word, rest) for word, rest in instructions() if word in {"USER", "RUN", "COPY"}]
    (made,) = re.findall(r"useradd .*?(\w+)\s+&&", " ".join(of("RUN")))
    assert ("USER", made) == steps[-1]


def test_nothing_gets_into_the_image_by_mistake() -> None:
    """The image's ignore file keeps out what it does not name and every `.env` file; git ignores that too."""
    assert "*" == lines("Dockerfile.dockerignore")[0]
    assert "**/.env" in lines("Dockerfile.dockerignore")
    assert ".env" in lines(".gitignore")


def test_programs_of_the_image_exist() -> None:
    """The Dockerfile starts a command that the package has."""
    from etrade_flows.cli.app import app

    (started,) = of("CMD")
    program, command = YAML(typ="safe").load(started)
    assert program in PROJECT["project"]["scripts"]
    assert app[command]


@every_service
def test_images_have_a_version(service: str) -> None:
    """No service runs an image without a version; ours is built here, from the checkout."""
    name, _, tag = SERVICES[service]["image"].partition(":")
    if service not in OURS:
        assert re.match(r"\d", tag)
        return
    build = SERVICES[service]["build"]
    assert ("prefect-etrade", "local", ROOT) == (name, tag, (FOLDER / build["context"]).resolve())
    assert (ROOT / build["dockerfile"]).exists()


@pytest.mark.parametrize("service", OURS)
def test_programs_of_the_services_exist(service: str) -> None:
    """Each program that one of our containers runs is installed with the package, or Python itself."""
    scripts = Path(sys.executable).parent
    assert [] == [words[0] for words in commands(service) if words and not (scripts / words[0]).exists()]


def test_prefect_has_the_commands_and_their_options() -> None:
    """The installed Prefect has each command and each option that a service gives it."""
    wanted = list(prefect_commands())
    names = [list(takewhile(lambda word: not word.startswith("-"), words)) for words in wanted]
    command = [sys.executable, "-c", HELP, *map(" ".join, names)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("== next\n")[1:]
    for words, text in zip(wanted, said, strict=True):
        assert [] == [word for word in words if word.startswith("--") and word not in text]


def test_variables_are_read_by_somebody(read_variables: set[str]) -> None:
    """The installed versions read every variable that a service gets."""
    given = {name for each in SERVICES.values() for name in each.get("environment", {})}
    assert set() == given - read_variables - OF_OTHERS
    assert "PREFECT_SERVER_ENCRYPTION_KEY" in given


def test_the_worker_is_handed_every_setting() -> None:
    """The worker gets each setting of the package from `.env`, and none with a value of Compose's own."""
    given = SERVICES["worker"]["environment"]
    tuned = {f"ETRADE_{name.upper()}" for name in RenewalSettings.model_fields}
    assert tuned == {name for name in given if name.startswith("ETRADE_")}
    handed_on = {name for name, value in given.items() if value is None}
    assert tuned | {"PREFECT_DEFAULT_RESULT_STORAGE_BLOCK"} <= handed_on


@pytest.mark.parametrize(
    ("env_file", "public"),
    [
        ({}, "http://127.0.0.1:4200"),
        ({"PREFECT_PORT": "4300"}, "http://127.0.0.1:4300"),
        ({"PUBLIC_URL": "https://prefect.example"}, "https://prefect.example"),
    ],
    ids=["usual", "port", "public"],
)
def test_links_lead_to_where_people_see_the_server(env_file: dict[str, str], public: str) -> None:
    """One variable tells the browser, the notifications and the sign-in's artifact where the server is."""
    server, worker = (SERVICES[name]["environment"] for name in ("server", "worker"))
    assert f"{public}/api" == interpolated(server["PREFECT_SERVER_UI_API_URL"], env_file)
    for each in (server, worker):
        with temporary_settings({PREFECT_UI_URL: interpolated(each["PREFECT_UI_URL"], env_file)}):
            assert f"{public}/v2/runs/flow-run/{RUN}" == url_for("flow-run", obj_id=RUN)


def interpolated(text: str, env_file: dict[str, str]) -> str:
    """The text as Compose fills it in: `${NAME:-default}`, where a default may contain another variable."""
    variable = re.compile(r"\$\{(\w+):-([^${}]*)\}")
    while variable.search(text):
        text = variable.sub(lambda match: env_file.get(match[1]) or match[2], text)
    return text


def test_no_secret_is_written_down() -> None:
    """A variable that is named like a secret gets its value from outside, never from the files."""
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|AUTH_STRING|REDIS_URL")
    given = [item for each in SERVICES.values() for item in each.get("environment", {}).items()]
    secrets = [(name, value) for name, value in given if secret.search(name)]
    assert secrets
    assert [] == [name for name, value in secrets if value is not None and not re.match(r"\$\{\w+:\?", value)]
    assert [] == [rest for rest in of("ENV") + of("RUN") if secret.search(rest)]


@every_service
def test_nothing_is_published_beyond_this_machine(service: str) -> None:
    """Each published port is bound to the loopback interface."""
    ports = SERVICES[service].get("ports", [])
    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]


@pytest.mark.parametrize("service", LASTING)
def test_a_lasting_service_is_watched_and_brought_back(service: str) -> None:
    """Each service that stays up is started again when it ends, and has a health check if it listens."""
    assert "unless-stopped" == SERVICES[service]["restart"]
    if service != "services":  # the background services, which listen on no port
        assert SERVICES[service]["healthcheck"]["test"]


@pytest.mark.parametrize("service", OURS)
def test_our_services_have_no_more_rights_than_they_need(service: str) -> None:
    """Our containers have no capabilities, cannot gain any, and have an init that passes signals on."""
    found = SERVICES[service]
    assert (["ALL"], ["no-new-privileges:true"]) == (found["cap_drop"], found["security_opt"])
    assert found["init"] is True


def test_dependencies_and_volumes_are_declared() -> None:
    """Each service waits for services that exist and mounts volumes that exist, ours on the Prefect home."""
    awaited = {name for each in SERVICES.values() for name in each.get("depends_on", {})}
    assert set() == awaited - set(SERVICES)
    mounted = [(name, v.split(":")) for name, each in SERVICES.items() for v in each.get("volumes", [])]
    assert set(COMPOSE["volumes"]) == {volume for _, (volume, _) in mounted}
    assert {"/home/etrade/.prefect"} == {target for name, (_, target) in mounted if name in OURS}
    assert any("/home/etrade/.prefect" in rest for rest in of("RUN"))


def test_the_server_uses_the_database() -> None:
    """Server and database agree on the name, the user and the password."""
    server, database = SERVICES["server"]["environment"], SERVICES["database"]["environment"]
    for theirs, ours in (("DB", "NAME"), ("USER", "USER"), ("PASSWORD", "PASSWORD")):
        assert database[f"POSTGRES_{theirs}"] == server[f"PREFECT_SERVER_DATABASE_{ours}"]
    assert server["PREFECT_SERVER_DATABASE_HOST"] in SERVICES


def test_the_worker_polls_the_pool_that_is_deployed_to(configured: dict[str, Any]) -> None:
    """Worker, work pool and deployments name the same pool."""
    worker = SERVICES["worker"]["command"]
    pools = {each["work_pool"]["name"] for each in configured["deployments"]}
    assert {worker[worker.index("--pool") + 1]} == pools
    made = next(words for words in prefect_commands() if words[:2] == ["work-pool", "create"])
    assert {made[2]} == pools


def test_the_servers_health_check_tells_up_from_down(prefect_server: None) -> None:
    """The health check succeeds against a running server and fails where nothing listens."""
    _, _, code = SERVICES["server"]["healthcheck"]["test"][1:]
    here = get_current_settings().api.url.removesuffix("/api").removeprefix("http://")
    up, down = (code.replace("127.0.0.1:4200", address) for address in (here, "127.0.0.1:9"))
    assert code != up
    ended = [
        subprocess.run([sys.executable, "-c", each], capture_output=True, check=False) for each in (up, down)
    ]
    assert [0, 1] == [each.returncode for each in ended]


def started(profile: str) -> dict[str, dict[str, Any]]:
    """The services that a profile starts."""
    return {name: each for name, each in SERVICES.items() if profile in each.get("profiles", PROFILES)}


def test_a_profile_must_be_chosen() -> None:
    """If no profile is chosen, Compose names the profiles and starts nothing."""
    chosen = {name for each in SERVICES.values() for name in each.get("profiles", [])}
    assert set(PROFILES) == chosen
    (topology,) = SERVICES["database"]["labels"].values()
    said = re.fullmatch(r"\$\{COMPOSE_PROFILES:\?(.+)\}", topology).group(1)
    assert [] == [name for name in PROFILES if name not in said]


@pytest.mark.parametrize("profile", PROFILES)
def test_one_service_is_the_server_to_all_others(profile: str) -> None:
    """In each profile exactly one service answers as `server`, the clients' address, and is published."""
    found = started(profile)
    answering = [
        name
        for name, each in found.items()
        if "server" in {name, *each.get("networks", {}).get("default", {}).get("aliases", [])}
    ]
    assert answering == [name for name, each in found.items() if each.get("ports")]
    assert 1 == len(answering)
    assert "http://server:4200/api" == found["worker"]["environment"]["PREFECT_API_URL"]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_service_waits_for_is_started(profile: str) -> None:
    """Every service that another one needs belongs to the same profile."""
    found = started(profile)
    for name, each in found.items():
        needed = {other for other, how in each.get("depends_on", {}).items() if how.get("required", True)}
        assert set() == needed - set(found), name


@pytest.mark.parametrize("profile", PROFILES)
def test_background_services_run_once(profile: str) -> None:
    """In each profile exactly one process runs the scheduler and the other background services."""
    starting = [
        (name, words)
        for name in started(profile)
        for words in commands(name)
        if words[:2] == ["prefect", "server"] and "start" in words and "--no-services" not in words
    ]
    assert 1 == len(starting)
    assert "replicas" not in SERVICES[starting[0][0]].get("deploy", {})


def test_the_parts_of_one_server_share_an_environment() -> None:
    """API servers, background services and migration share one environment, more than a single server's."""
    told = [SERVICES[name]["environment"] for name in ("api", "services", "migrate")]
    assert told[0] == told[1] == told[2]
    assert told[0].items() > SERVICES["server"]["environment"].items()
    assert told[0]["PREFECT_REDIS_MESSAGING_HOST"] in started("cluster")


def test_modules_of_prefect_redis_exist() -> None:
    """Each module of `prefect-redis` that the servers name can be imported."""
    told = {str(value) for value in SERVICES["api"]["environment"].values()}
    named = {value for value in told if value.startswith("prefect_redis.")}
    assert {"cleanup_queue", "lease_storage", "messaging", "ordering"} == {name[14:] for name in named}
    assert [] == [name for name in named if importlib.util.find_spec(name) is None]


def test_the_proxy_asks_for_the_servers_by_their_name() -> None:
    """The proxy listens on the clients' port, and forwards to the port where the API servers listen."""
    (front,) = (each["content"] for each in COMPOSE["configs"].values())
    assert {"front"} == set(COMPOSE["configs"])
    assert re.search(r"^ +bind :4200$", front, re.MULTILINE)
    assert re.search(r"^ +server-template \S+ \d+ api:4200$", front, re.MULTILINE)
    command = SERVICES["api"]["command"]
    assert "4200" == command[command.index("--port") + 1]
