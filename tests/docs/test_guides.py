"""The code of README and guides, copied into an empty folder, runs as it is written."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import State

from etrade_flows.cli.app import app
from etrade_simulator import Simulator
from prefect_etrade import ETradeCredentials, renew_access_token

RENEW = "/oauth/renew_access_token"
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PIPELINES = (ROOT / "docs" / "pipelines.md").read_text()
PROSE = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deployments").rglob("*.md")),
]

every_page = pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))

AT_THE_SIMULATOR = """
from etrade_python.enums import Environment
Environment.api_base_url = property(lambda environment: {address!r})
"""
"""Needed because etrade-python has no setting for the address; the rest is what a user runs."""

SERVED = """
if __name__ == "__main__":  # what `serve` does for one flow, for several
    import asyncio
    from prefect.runner import Runner

    runner = Runner()
    runner.add_flow(balances, name="served")
    runner.add_flow(async_balances, name="served")
    asyncio.run(runner.start())
"""

IN_A_POOL = """
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner
from prefect_etrade import etrade_client, renew_access_token

@task
def accounts():
    renew_access_token("etrade")
    with etrade_client("etrade") as client:
        return client.get("/v1/accounts/list.json").json()

@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def in_a_pool():
    return accounts.submit().result()

if __name__ == "__main__":
    print(in_a_pool())
"""


def snippets(text: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def lasting_until_midnight(codes: list[str]) -> list[str]:
    """The same code, with a second instead of half an hour, so the tests also pass just before midnight."""
    return [code.replace("timedelta(minutes=30)", "timedelta(seconds=1)") for code in codes]


def snippet(section: str) -> str:
    """The one Python block of that section of the guide to pipelines."""
    (code,) = snippets(PIPELINES.partition(f"## {section}\n")[2].partition("\n## ")[0])
    return code


def test_server_that_readme_starts_stays(
    *, tmp_path: Any, migrated: Any, free_ports: Any, run_python: Any, run_process: Any, wait_for_server: Any
) -> None:
    """README's lines start a server that logs and answers; with `--background` its first log would end it."""
    setting, start = re.findall(r"^prefect (.+)$", README, re.MULTILINE)
    shutil.copy(migrated, tmp_path / "prefect.db")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}/api"
    own = {"HOME": str(tmp_path), "SERVER_API_PORT": str(port), "SERVER_LOGGING_LEVEL": "DEBUG"}
    newcomer = {"cwd": tmp_path, "PREFECT_API_URL": ""} | {f"PREFECT_{name}": own[name] for name in own}
    run_python("-m", "prefect", *setting.replace("http://127.0.0.1:4200/api", address).split(), **newcomer)
    with run_process("-m", "prefect", *shlex.split(start, comments=True), **newcomer):
        wait_for_server(address)


def test_snippets_run_alone(shell: Any, simulator: Simulator) -> None:
    """Each snippet, and each recipe for another client, runs in an empty file, and all share one renewal."""
    first, flow, client = lasting_until_midnight(snippets(README))
    there = AT_THE_SIMULATOR.format(address=simulator.api_url("live"))
    programs = [
        (f"{first}\nprint(my_pipeline(return_state=True).type)", "COMPLETED"),
        (f"{flow}\nprint(balances())", "AccountListResponse"),
        (f"{client}\nprint(accounts)", "AccountListResponse"),
        (
            f"{snippet('In an async flow')}\nimport asyncio; print(asyncio.run(async_balances()))",
            "AccountListResponse",
        ),
        (f"{snippet('When a pipeline runs every few minutes')}\nprint(quotes())", "QuoteResponse"),
        (snippet("With pyetrade"), "AccountListResponse"),
        (there + snippet("With etrade-python"), "Account("),
    ]
    for number, (code, _) in enumerate(programs):
        (shell.folder / f"program_{number}.py").write_text(code)
    # One process runs all the files, each as a program of its own: importing Prefect takes seconds.
    each = "    print('== next')\n    runpy.run_path(f'program_{number}.py')\n"
    said = shell.run(f"import runpy\nfor number in range({len(programs)}):\n{each}").split("== next\n")[1:]
    assert [] == [part for (_, wanted), part in zip(programs, said, strict=True) if wanted not in part]
    assert 1 == len(simulator.calls(RENEW))


def test_snippets_run_where_they_are_served(shell: Any, ends: Callable[..., list[State]]) -> None:
    """The flow of README and the async flow of the guide complete when one script serves both."""
    _, flow, _ = lasting_until_midnight(snippets(README))
    (shell.folder / "pipeline.py").write_text(f"{flow}\n{snippet('In an async flow')}\n{SERVED}")
    with shell.running("pipeline.py"):
        states = ends("balances/served", "async-balances/served")
    assert ["Completed"] * 2 == [state.name for state in states], [state.message for state in states]


def test_renewal_in_a_process_pool(shell: Any) -> None:
    """A task that Prefect runs in another process renews and calls E*TRADE there."""
    assert "AccountListResponse" in shell.run(IN_A_POOL)


@pytest.mark.usefixtures("users_conftest")
def test_testing_guide_passes_as_written(shell: Any) -> None:
    """The test that the guide shows passes in a user's own test run."""
    (code,) = snippets((ROOT / "docs" / "testing.md").read_text())
    (shell.folder / "test_pipeline.py").write_text(code)
    assert "1 passed" in shell.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")


@pytest.mark.usefixtures("shell")
def test_signing_in_as_code_works_as_written(simulator: Simulator) -> None:
    """The guide's own code signs in with the verifier that E*TRADE shows to the person."""
    (code,) = snippets((ROOT / "docs" / "signing-in.md").read_text())
    scope: dict[str, Any] = {}

    def asked(_question: str) -> str:
        address = urlsplit(scope["waiting"].authorize_url)
        return simulator.approve(parse_qs(address.query)["token"][0])

    scope["input"] = asked
    exec(code, scope)  # noqa: S102  # the guide's own code
    assert not scope["session"].reused


def test_run_deployment_works_from_elsewhere(shell: Any, deployed: Callable[..., None]) -> None:
    """Code without the package renews through the deployment that `etrade-session serve` runs."""
    code = snippet("From a repository without this package")
    with shell.running("-m", "etrade_flows.cli.app", "serve"):
        deployed("renew-access-token/on-demand")
        hidden = "import sys; sys.modules.update(prefect_etrade=None, etrade_flows=None)\n"
        said = shell.run(f"{hidden}{code}\nprint(run.state.type.value, run.tags)\n")
    assert said.startswith("COMPLETED")
    assert {"outcome:renewed", "outcome:reused"} & set(re.findall(r"'(.+?)'", said))


def test_several_accounts_have_a_schedule_each(
    shell: Any,
    simulator: Simulator,
    credentials_for: Callable[..., ETradeCredentials],
    ends: Callable[..., list[State]],
) -> None:
    """Two accounts, each with its own scheduled deployment, are renewed with one call each."""
    logins = {"mine": simulator.sign_in("live"), "company": simulator.sign_in("sandbox")}
    for name, token in logins.items():
        credentials_for(token).save(name, overwrite=True)
    (command,) = re.findall(r"^etrade-session (serve .+)$", PIPELINES, re.MULTILINE)
    deployments = [f"renew-access-token/hourly-{name}" for name in logins]
    with shell.running("-m", "etrade_flows.cli.app", *command.split()):
        states = ends(*deployments)
    with get_client(sync_client=True) as client:
        found = [client.read_deployment_by_name(name) for name in deployments]
    hourly = {"0 1-23 * * *", "0 6 1-7 11 0"}
    assert [hourly, hourly] == [{each.schedule.cron for each in one.schedules} for one in found]
    assert [True, True] == [state.is_completed() for state in states], (shell.folder / "log").read_text()
    assert 2 == len(simulator.calls(RENEW))


def test_run_deployment_without_a_worker_says_what_to_look_at(prefect_server: None) -> None:
    """Without a worker, the snippet gives up in time and names the command that starts one."""
    code = snippet("From a repository without this package")
    assert "timeout=600" in code
    with get_client(sync_client=True) as client:
        # A pool of its own: a worker of another test may poll the pool `etrade`.
        client.create_work_pool(WorkPoolCreate(name="without-a-worker", type="process"), overwrite=True)
        flow = client.create_flow(renew_access_token)
        deployment = client.create_deployment(flow, "on-demand", work_pool_name="without-a-worker")
        with pytest.raises(
            RuntimeError, match=r"(?s)The renewal is still .*prefect worker start --pool etrade"
        ):
            exec(code.replace("timeout=600", "timeout=1"), {})  # noqa: S102  # the guide's own code
        client.delete_deployment(deployment)
        client.delete_work_pool("without-a-worker")


@every_page
def test_commands_are_understood(page: Path) -> None:
    """Every `etrade-session` command on a page exists and has the options that the page gives it."""
    lines = re.findall(r"(?:^|`)(?:\.venv/bin/)?etrade-session (\w[^#`\n]+)", page.read_text(), re.MULTILINE)
    for line in lines:
        app.parse_args(shlex.split(re.sub(r"[][]", "", line)), exit_on_error=False, print_error=False)


@every_page
def test_links_lead_to_files(page: Path) -> None:
    """Every relative link of a page leads to a file of the repository."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [] == [link for link in links if not (page.parent / link).exists()]


@every_page
def test_code_imports_the_door_alone(page: Path) -> None:
    """No example imports from inside the package."""
    assert [] == re.findall(r"(?:from|import) etrade_(?:flows|tasks)\S*", page.read_text())


@every_page
def test_no_state_of_our_own_is_named(page: Path) -> None:
    """No page tells readers to look for a run's state by a name that Prefect does not know."""
    assert [] == re.findall(r"`(?:Renewed|Reused|SignedIn|NobodyAnswered|MarketClosed)`", page.read_text())


def test_rooms_of_the_picture_are_those_of_the_contracts() -> None:
    """The picture in CONTRIBUTING.md names the rooms of the import contracts, in their order."""
    picture = (ROOT / "CONTRIBUTING.md").read_text().partition("```\n")[2].partition("```")[0]
    drawn = re.findall(r"^[ |]*((?:\w+)(?: \| \w+)*)(?=  |$)", picture, re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    packages, flows, tasks, simulator = (each["layers"] for each in contracts if each["type"] == "layers")
    door, upper, lower = packages
    wanted = [door, upper, *flows, lower, *tasks, "etrade_simulator", *simulator]
    assert wanted == [name for name in drawn if name != "v"]


def test_make_targets_that_are_named_exist() -> None:
    """Every make target that README and the guides to deploying name is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    pages = README + "".join(
        (ROOT / "deployments" / name).read_text() for name in ("README.md", "growing.md")
    )
    targets = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", pages, re.MULTILINE))
    assert targets
    assert set() == {one or other for one, other in targets if f"\n{one or other}:" not in makefile}
