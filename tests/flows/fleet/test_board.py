"""The table that fills while a fleet is renewed, on a real Prefect server."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from etrade_flows.fleet import board
from etrade_flows.fleet.tally import Tally
from etrade_tasks import SignInRequired

pytestmark = pytest.mark.usefixtures("quick_flows")


def shown() -> tuple[float, str, int]:
    """The progress, the table's description, and how many of its rows have an outcome."""
    table = Artifact.get(board.TABLE)
    done = [row for row in json.loads(table.data) if row["Eastern"]]
    return Artifact.get(board.PROGRESS).data, table.description, len(done)


def test_the_table_fills_while_the_run_goes_on(prefect_server: None, noon: datetime) -> None:
    """The table exists from the start, and shows what has ended so far while the run goes on."""
    tally, seconds = Tally(("a", "b", "c", "d")), [0.0]

    @flow
    def fill() -> None:
        seen = board.Board(tally, lambda: seconds[0])
        assert (0.0, "… 0 of 4 sessions are good, 4 to go", 0) == shown()
        tally.settle("a", SignInRequired("Over."), noon)
        seen.look()
        assert 0 == shown()[2]  # too soon
        seconds[0] = board.SECONDS
        seen.look()
        assert (25.0, "… 0 of 4 sessions are good, 3 to go", 1) == shown()
        for name in "bcd":
            tally.settle(name, SignInRequired("Over."), noon)
        seen.update({"a": "told"})
        assert (100.0, "⚠️ 0 of 4 sessions are good", 4) == shown()
        assert {"a": "told"} == board.Board(tally).alerted

    fill()


def test_many_tokens_make_no_more_updates(
    prefect_server: None, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many tokens there are and however slow they are, the artifacts change about twenty times."""
    names = tuple(f"t-{number:04}" for number in range(2_000))
    tally, seconds, updated = Tally(names), [0.0], []
    monkeypatch.setattr(SyncPrefectClient, "update_artifact", lambda _, which, __: updated.append(which))
    seen = board.Board(tally, lambda: seconds[0])
    for name in names:
        seconds[0] += 1
        tally.settle(name, SignInRequired("Over."), noon)
        seen.look()
    seen.update({})
    assert [21, 21] == list(Counter(updated).values())


def test_a_server_that_takes_no_artifact_stops_nothing(noon: datetime) -> None:
    """If the table cannot be written, the run goes on and assumes that nothing was alerted."""
    nowhere = {PREFECT_API_URL: "http://127.0.0.1:1/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(nowhere):
        seen = board.Board(Tally(("a",)))
        seen.look()
        seen.update({})
    assert {} == seen.alerted
