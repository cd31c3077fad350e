"""The README's code, copied into an empty folder, runs as it is written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import Scheduled

from etrade_flows import renew_access_token
from etrade_flows.cli.app import app
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()

SERVED = """
if __name__ == "__main__":  # what `serve` does for one flow, for several
    import asyncio, sys
    from prefect.runner import Runner

    runner = Runner()
    for name in sys.argv[1:]:
        runner.add_flow(globals()[name], name="served")
    asyncio.run(runner.start())
"""

IN_A_POOL = """
from etrade_flows import etrade_client, renew_access_token
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner

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


def snippets(section: str) -> list[str]:
    """The Python blocks of the README's section of that title."""
    text = README.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """E*TRADE on real time, as a process of its own sees it."""
    with Simulator() as running:
        yield running


@pytest.fixture
def environment(prefect_server: None, credentials: ETradeCredentials) -> dict[str, str]:
    """A shell in which the README's reader has a Prefect server and a block named `etrade`."""
    credentials.save("etrade", overwrite=True)
    return dict(os.environ) | {"PREFECT_API_URL": get_current_settings().api.url}


def run(code: str, folder: Path, environment: dict[str, str]) -> str:
    (folder / "pipeline.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "pipeline.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_pipeline_section_runs_as_written(tmp_path: Path, environment: dict[str, str]) -> None:
    """The flow, the context manager and the async flow of the README work, copied one after the other."""
    flow, client, async_flow, _ = snippets("In your pipeline")
    calls = "print(balances())\nprint(accounts)\nimport asyncio\nprint(asyncio.run(async_balances()))\n"
    said = run(f"{flow}\n{client}\n{async_flow}\n{calls}", tmp_path, environment)
    assert 3 == said.count("AccountListResponse")


def test_snippets_run_where_they_are_served(
    tmp_path: Path, environment: dict[str, str], wait_until: Callable[..., None]
) -> None:
    """Each flow of the README, and the context manager in one, completes where one script serves them all."""
    (first,) = re.findall(r"```python\n(.*?)```", README.partition("## In your pipeline")[0], re.DOTALL)
    flow, client, async_flow, _ = snippets("In your pipeline")
    in_a_flow = "@flow\ndef accounts():\n" + textwrap.indent(client, "    ") + "    return accounts\n"
    (tmp_path / "pipeline.py").write_text(f"{first}\n{flow}\n{async_flow}\n{in_a_flow}\n{SERVED}")
    flows = ["my_pipeline", "balances", "async_balances", "accounts"]
    deployments = [f"{name.replace('_', '-')}/served" for name in flows]
    with running(["pipeline.py", *flows], tmp_path, environment):
        wait_until(lambda: all(map(is_deployed, deployments)), seconds=60)
        with get_client(sync_client=True) as prefect:
            found = [prefect.read_deployment_by_name(name).id for name in deployments]
            runs = [prefect.create_flow_run_from_deployment(each, state=Scheduled()).id for each in found]
            wait_until(lambda: all(prefect.read_flow_run(run).state.is_final() for run in runs), seconds=120)
            ends = [prefect.read_flow_run(run).state for run in runs]
    assert ["Completed"] * 4 == [end.name for end in ends], [end.message for end in ends]


def test_renewal_in_a_process_pool(tmp_path: Path, environment: dict[str, str]) -> None:
    """A task that Prefect runs in another process renews, and calls E*TRADE there."""
    said = run(IN_A_POOL, tmp_path, environment)
    assert "AccountListResponse" in said


def test_testing_section_passes_as_written(tmp_path: Path, environment: dict[str, str]) -> None:
    """The test of the README passes in a user's own test run."""
    (snippet,) = snippets("In your own tests")
    (tmp_path / "test_pipeline.py").write_text(snippet)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert "1 passed" in done.stdout, done.stdout


def test_run_deployment_works_from_elsewhere(
    tmp_path: Path, environment: dict[str, str], wait_until: object
) -> None:
    """A repository without the package renews through the deployment, served by the one process."""
    snippet = snippets("In your pipeline")[3]
    with running(["-m", "etrade_flows.cli.app", "serve"], tmp_path, environment):
        wait_until(lambda: is_deployed("renew-access-token/on-demand"), seconds=60)
        hidden = "import sys; sys.modules.update(etrade_flows=None, etrade_tasks=None)\n"
        said = run(f"{hidden}{snippet}\nprint(run.state.type.value, run.tags)\n", tmp_path, environment)
    assert said.startswith("COMPLETED")
    assert {"outcome:renewed", "outcome:reused"} & set(re.findall(r"'(.+?)'", said))


def test_run_deployment_without_a_worker_says_what_to_look_at(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Where no worker runs the snippet gives up in time, and names the command that starts one."""
    snippet = snippets("In your pipeline")[3]
    assert "timeout=600" in snippet
    soon = textwrap.indent(snippet.replace("timeout=600", "timeout=2"), "    ")
    with get_client(sync_client=True) as client:
        # A pool of its own: a worker of another test may look at the pool `etrade`.
        client.create_work_pool(WorkPoolCreate(name="without-a-worker", type="process"), overwrite=True)
        flow = client.create_flow(renew_access_token)
        deployment = client.create_deployment(flow, "on-demand", work_pool_name="without-a-worker")
        said = run(f"try:\n{soon}\nexcept RuntimeError as error:\n    print(error)\n", tmp_path, environment)
        client.delete_deployment(deployment)
        client.delete_work_pool("without-a-worker")
    assert "The renewal is still " in said
    assert "prefect worker start --pool etrade" in said


@contextmanager
def running(arguments: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A Python process that is ended after the `with` block."""
    command, variables = [sys.executable, *arguments], environment | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def is_deployed(name: str) -> bool:
    """Whether the server knows a deployment of this name."""
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(name)
        except ObjectNotFound:
            return False
    return True


def test_make_targets_that_the_readme_names_exist() -> None:
    """Every make target of the README is one of the Makefile's."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"\bmake ([a-z-]+)", README)) - {"bare"}
    assert set() == {target for target in targets if f"\n{target}:" not in makefile}


def test_commands_of_the_readme_are_understood() -> None:
    """Every `etrade-session` call in the README is a command with options that it has."""
    lines = re.findall(r"(?:^|`)(?:\.venv/bin/)?etrade-session ([^#`\n]+)", README, re.MULTILINE)
    assert 10 < len(lines)
    for line in lines:
        app.parse_args(shlex.split(re.sub(r"[][]", "", line)), exit_on_error=False, print_error=False)


def test_files_that_the_readme_links_exist() -> None:
    """Every relative link of the README leads to a file of the repository."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [] == [link for link in links if not (ROOT / link).exists()]
