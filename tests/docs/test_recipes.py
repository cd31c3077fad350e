"""The recipes of the guide to pipelines, run as they are written against the simulator."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from etrade_simulator import Simulator
from prefect_etrade import ETradeCredentials

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "pipelines.md").read_text()

AT_THE_SIMULATOR = """
from etrade_python.enums import Environment
Environment.api_base_url = property(lambda environment: {address!r})
"""
"""Needed because etrade-python has no setting for the address; the rest is what a user runs."""


def recipe(section: str) -> str:
    """The one Python block of that section of the guide."""
    (code,) = re.findall(
        r"```python\n(.*?)```", GUIDE.partition(f"## {section}\n")[2].partition("\n## ")[0], re.DOTALL
    )
    return code


def test_pyetrade_works_on_our_session(shell: Any, simulator: Simulator) -> None:
    """Pyetrade lists accounts with the token that the package has just renewed."""
    assert "AccountListResponse" in shell.run(recipe("With pyetrade"))
    assert 1 == len(simulator.calls("/oauth/renew_access_token"))


def test_etrade_python_works_on_our_session(shell: Any, simulator: Simulator) -> None:
    """etrade-python lists accounts with requests that the block signs, and renews nothing itself."""
    pointed = AT_THE_SIMULATOR.format(address=simulator.api_url("live"))
    assert "Account(" in shell.run(pointed + recipe("With etrade-python"))
    assert 1 == len(simulator.calls("/oauth/renew_access_token"))


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
    (command,) = re.findall(r"^etrade-session (serve .+)$", GUIDE, re.MULTILINE)
    deployments = [f"renew-access-token/hourly-{name}" for name in logins]
    with shell.running("-m", "etrade_flows.cli.app", *command.split()):
        states = ends(*deployments)
    with get_client(sync_client=True) as client:
        found = [client.read_deployment_by_name(name) for name in deployments]
    hourly = {"0 1-23 * * *", "0 6 1-7 11 0"}
    assert [hourly, hourly] == [{each.schedule.cron for each in one.schedules} for one in found]
    assert [True, True] == [state.is_completed() for state in states], (shell.folder / "log").read_text()
    assert 2 == len(simulator.calls("/oauth/renew_access_token"))
