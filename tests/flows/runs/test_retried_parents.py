"""If Prefect retries a parent flow, it runs our flows again, however results are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.filesystems import LocalFileSystem
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_RESULTS_PERSIST_BY_DEFAULT,
    temporary_settings,
)

from etrade_flows import active_session, renew_access_token, sign_in, sign_out
from etrade_simulator import Simulator
from etrade_tasks.load_credentials import load_block

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"

Retried = Callable[[Callable[[], Any], Callable[[], object]], tuple[list[Any], State[Any]]]


@pytest.fixture
def stored(request: pytest.FixtureRequest, prefect_server: None, tmp_path: Path) -> Iterator[bool]:
    """One of the ways to store results; true if the parent flow itself asks for it."""
    block = f"results-{tmp_path.name.replace('_', '-')}".lower()[:60]
    settings: dict[Any, Any] = {}
    if request.param == "by default":
        settings[PREFECT_RESULTS_PERSIST_BY_DEFAULT] = True
    if request.param == "in a block":
        LocalFileSystem(basepath=str(tmp_path)).save(block)
        settings[PREFECT_DEFAULT_RESULT_STORAGE_BLOCK] = f"local-file-system/{block}"
    with temporary_settings(settings):
        yield request.param == "of the flow"


stored_by_default = pytest.mark.parametrize("stored", ["by default"], indirect=True)


@pytest.fixture
def retried(stored: bool) -> Retried:
    """Runs a flow whose second step fails once; returns the first step's results and the final state."""

    def run(step: Callable[[], Any], meanwhile: Callable[[], object]) -> tuple[list[Any], State[Any]]:
        given: list[Any] = []

        @flow(retries=1, persist_result=True if stored else None)
        def pipeline() -> None:
            given.append(step())
            if len(given) == 1:
                meanwhile()
                raise RuntimeError("a later step failed")

        return given, pipeline(return_state=True)

    return run


@pytest.mark.parametrize("stored", ["of the flow", "by default", "in a block"], indirect=True)
@pytest.mark.parametrize("door", [renew_access_token, active_session], ids=["flow", "active-session"])
def test_hours_later_it_is_renewed_anew(
    simulator: Simulator, block: str, retried: Retried, door: Callable[[str], Any]
) -> None:
    """A retry three hours later renews again, because the token is idle by then."""
    given, _ = retried(lambda: door(block), lambda: simulator.advance(timedelta(hours=3)))
    assert [False, False] == [session.reused for session in given]
    assert given[1].renewed_at - given[0].renewed_at >= timedelta(hours=3)
    assert 2 == len(simulator.calls(RENEW))


@stored_by_default
def test_next_day_a_person_is_asked_again(
    simulator: Simulator, block: str, retried: Retried, person: Any
) -> None:
    """A retry on the next day waits for that day's sign-in."""
    person.answers()
    person.answers()
    given, end = retried(lambda: sign_in(block), lambda: simulator.advance(timedelta(hours=12)))
    assert end.is_completed(), end.message
    assert given[0].expires_at < given[1].expires_at


@stored_by_default
def test_new_session_is_ended_too(
    simulator: Simulator, block: str, credentials_for: Any, retried: Retried
) -> None:
    """If somebody has signed in since the first try, the retry signs out again."""
    someone = credentials_for(simulator.sign_in("live"))
    _, end = retried(lambda: sign_out(block), lambda: someone.save(block, overwrite=True))
    assert (True, None) == (end.is_completed(), load_block(block).access_token)
