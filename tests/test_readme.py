"""The README's code, copied into an empty folder, runs as it is written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from etrade_flows.cli import app
from etrade_simulator import Simulator
from etrade_tasks import ETradeCredentials

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


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
    command = [sys.executable, str(ROOT / "deployments" / "serve.py")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as serving:
        try:
            wait_until(_is_deployed, seconds=60)
            hidden = "import sys; sys.modules.update(etrade_flows=None, etrade_tasks=None)\n"
            said = run(f"{hidden}{snippet}\nprint(run.state.name)\n", tmp_path, environment)
        finally:
            serving.terminate()
    assert said.strip() in {"Renewed", "Reused"}


def _is_deployed() -> bool:
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name("renew-access-token/on-demand")
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
    assert [] == [link for link in links if not (ROOT / link).exists()]
