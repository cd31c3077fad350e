"""The recipes of the guide to pipelines, run as they are written against the simulator."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from etrade_simulator import Simulator
from prefect_etrade import ETradeCredentials

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "pipelines.md").read_text()

AT_THE_SIMULATOR = """
from etrade_python.enums import Environment
Environment.api_base_url = property(lambda environment: {address!r})
"""
"""etrade-python has no setting for the address; the rest of the recipe is as a user runs it."""


def recipe(section: str) -> str:
    """The one Python block of that section of the guide."""
    (code,) = re.findall(
        r"```python\n(.*?)```", GUIDE.partition(f"## {section}\n")[2].partition("\n## ")[0], re.DOTALL
    )
    return code


def run(code: str, folder: Path, environment: dict[str, str]) -> str:
    """What the code prints, as a program of its own."""
    (folder / "recipe.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "recipe.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_pyetrade_works_on_our_session(
    tmp_path: Path, environment: dict[str, str], simulator: Simulator
) -> None:
    """Pyetrade lists accounts by the token that the package has just renewed."""
    said = run(recipe("With pyetrade"), tmp_path, environment)
    assert "AccountListResponse" in said
    assert 1 == len(simulator.calls("/oauth/renew_access_token"))


def test_etrade_python_works_on_our_session(
    tmp_path: Path, environment: dict[str, str], simulator: Simulator
) -> None:
    """etrade-python lists accounts by requests that the block signs, and renews nothing itself."""
    pointed = AT_THE_SIMULATOR.format(address=simulator.api_url("live"))
    said = run(pointed + recipe("With etrade-python"), tmp_path, environment)
    assert "Account(" in said
    assert 1 == len(simulator.calls("/oauth/renew_access_token"))


def test_several_accounts_have_a_schedule_each(
    tmp_path: Path,
    environment: dict[str, str],
    simulator: Simulator,
    credentials_for: Callable[..., ETradeCredentials],
    wait_until: Callable[..., None],
) -> None:
    """Two logins, each scheduled by its own deployment, are renewed by one call each."""
    names = ["mine", "company"]
    tokens = [simulator.sign_in("live"), simulator.sign_in("sandbox")]
    for name, token in zip(names, tokens, strict=True):
        credentials_for(token).save(name, overwrite=True)
    (command,) = re.findall(r"^etrade-session (serve .+)$", GUIDE, re.MULTILINE)
    with (
        get_client(sync_client=True) as prefect,
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "etrade_flows.cli.app", *command.split()],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        ) as served,
    ):
        try:
            wait_until(lambda: all(map(_is_deployed, names)), seconds=90)
            found = [prefect.read_deployment_by_name(f"renew-access-token/hourly-{name}") for name in names]
            runs = [prefect.create_flow_run_from_deployment(each.id, state=Scheduled()).id for each in found]
            wait_until(
                lambda: all(prefect.read_flow_run(each).state.is_final() for each in runs), seconds=120
            )
            ends = [prefect.read_flow_run(each).state for each in runs]
        finally:
            served.terminate()
    hourly = {"0 1-23 * * *", "0 6 1-7 11 0"}
    assert [hourly, hourly] == [{each.schedule.cron for each in one.schedules} for one in found]
    assert [True, True] == [end.is_completed() for end in ends], (tmp_path / "log").read_text()
    assert 2 == len(simulator.calls("/oauth/renew_access_token"))


def _is_deployed(name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(f"renew-access-token/hourly-{name}")
        except ObjectNotFound:
            return False
    return True
