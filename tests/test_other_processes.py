"""Flows and tasks run in other processes, to which Prefect and its task runners send them by value."""

from __future__ import annotations
import __future__

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
from prefect import Flow, Task
from prefect.settings import get_current_settings

import etrade_flows
import etrade_tasks
from etrade_simulator import Simulator

pytestmark = [pytest.mark.starts_programs, pytest.mark.real_time]

PIPELINES = Path(__file__).resolve().parents[1] / "deployments" / "pipelines"
SCRIPTS = ("market_quotes", "nightly_positions")

VALIDATE = """
import pickle, sys, typing
from pathlib import Path

from prefect import Flow

folder = Path(sys.argv[1])
pieces = {}
for sent in folder.glob("*.pickle"):
    pieces |= pickle.loads(sent.read_bytes())
for piece in pieces.values():
    typing.get_type_hints(piece.fn)  # every name that an annotation uses is there
    if isinstance(piece, Flow):
        piece.validate_parameters({})
"""

RUN = """
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.turn import Shared

# Else each sync flow waits a second for the end of its heartbeats.
temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}).__enter__()
block = sys.argv[2]
print(pieces["sign_in"](block).reused)
credentials = pieces["load_credentials"](block)
reply = pieces["call_renew"](pieces["sign_request"](credentials))
print(pieces["classify_response"](reply).outcome)
print(pieces["renew_session"](Shared(credentials, Effort(block), force=True)).attempts)
print(pieces["renew_access_token"](block, force=True).reused)
print(pieces["market_quotes"](block, folder=folder, only_in_market_hours=False).quotes)
print(pieces["nightly_positions"](block, database=f"sqlite:///{folder}/positions.db").accounts)
print(pieces["sign_out"](block, return_state=True).name)
"""


def modules() -> Iterator[ModuleType]:
    """Every module of the package, and every example pipeline."""
    for package in (etrade_tasks, etrade_flows):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)
    for script in sorted(PIPELINES.glob("*.py")):
        yield importlib.import_module(script.stem)


def defined_in(module: ModuleType) -> dict[str, Flow[..., Any] | Task[..., Any]]:
    """The flows and tasks that this module defines, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, (Flow, Task)) and value.fn.__module__ == module.__name__
    }


@pytest.fixture(autouse=True)
def examples_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the examples' folder on the path, as Prefect does."""
    monkeypatch.syspath_prepend(PIPELINES)


@pytest.fixture
def run_elsewhere(run_python: Callable[..., str]) -> Callable[..., str]:
    """Runs Python in another process that can import the examples."""
    return partial(run_python, PYTHONPATH=str(PIPELINES))


def send_scripts(folder: Path, run_elsewhere: Callable[..., str]) -> None:
    """Pickle the flow of each example that runs as a script, as `serve` would send it."""
    for script in SCRIPTS:
        source = (PIPELINES / f"{script}.py").read_text()
        dump = f"__import__('cloudpickle').dumps({{{script!r}: {script}}})"
        write = f"__import__('pathlib').Path({str(folder / script)!r} '.pickle').write_bytes({dump})"
        (folder / f"{script}.py").write_text(source.replace(f"    {script}()\n", f"    {write}\n"))
    run = "import runpy, sys\nfor script in sys.argv[1:]:\n    runpy.run_path(script, run_name='__main__')"
    run_elsewhere("-c", run, *(folder / f"{script}.py" for script in SCRIPTS))


def test_annotations_are_objects_where_flows_and_tasks_are_defined() -> None:
    """No module with a flow or a task has text annotations, whose names are lost when it is sent by value."""
    defining = [module for module in modules() if defined_in(module)]
    text = [m.__name__ for m in defining if getattr(m, "annotations", None) is __future__.annotations]
    assert (True, []) == (len(defining) >= 10, text)


def test_they_run_where_they_were_sent(
    simulator: Simulator, block: str, person: Any, tmp_path: Path, run_elsewhere: Callable[..., str]
) -> None:
    """Each flow and task, and each example sent from its own script, runs in another process."""
    for module in modules():
        if module.__name__ not in SCRIPTS:
            sent = cloudpickle.dumps(defined_in(module))
            (tmp_path / f"{module.__name__}.pickle").write_bytes(sent)
    send_scripts(tmp_path, run_elsewhere)
    person.answers()
    api = get_current_settings().api.url
    said = run_elsewhere("-c", VALIDATE + RUN, tmp_path, block, PREFECT_API_URL=api)
    assert ["False", "RENEWED", "1", "False", "3", "2", "Completed"] == said.split()
