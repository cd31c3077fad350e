"""The flow `renew-fleet`, on a real Prefect server and against the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentCreate
from prefect.settings import get_current_settings

from etrade_flows import renew_access_token, renew_fleet
from etrade_flows.fleet import board
from etrade_simulator import AccessToken, Simulator
from etrade_tasks import (
    ConfigurationRefused,
    CredentialsInvalid,
    CredentialsNotFound,
    SignInRequired,
    TokensNotRenewed,
)

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"
FAST = 1_000.0
"""So many a second that nothing waits."""

Save = Callable[..., str]


@pytest.fixture
def save(block: str, credentials_for: Any, simulator: Simulator, registered: Any) -> Save:
    """Saves a block whose name begins as this test's do; gives its name."""

    def make(name: str, token: AccessToken | None = None, **changes: object) -> str:
        made = credentials_for(token or simulator.sign_in("live"))
        data = made.model_dump(mode="json", context={"include_secrets": True}, exclude={"block_type_slug"})
        kind, schema = registered(get_current_settings().api.url)
        document = BlockDocumentCreate(
            name=f"{block}-{name}", data=data | changes, block_type_id=kind, block_schema_id=schema
        )
        with get_client(sync_client=True) as client:
            client.create_block_document(document)
        return f"{block}-{name}"

    return make


def renewals(simulator: Simulator) -> int:
    return len(simulator.calls(RENEW))


def rows() -> dict[str, dict[str, str]]:
    """The table's rows, by the account."""
    return {row["account"]: row for row in json.loads(Artifact.get(board.TABLE).data)}


@pytest.mark.essential
def test_every_token_is_renewed_and_stands_in_one_table(simulator: Simulator, save: Save) -> None:
    """Each token is renewed by one call; the table has its row, and the progress is complete."""
    names = [save("a"), save("b"), save("c")]
    sessions = renew_fleet(names, per_second=FAST)
    assert (names, 3) == (sorted(sessions), renewals(simulator))
    assert dict.fromkeys(names, "✅ renewed") == {name: row["outcome"] for name, row in rows().items()}
    assert 100.0 == Artifact.get(board.PROGRESS).data
    assert "✅ 3 of 3 sessions are good" == Artifact.get(board.TABLE).description


def test_a_renewal_of_a_fleet_is_the_same_as_a_single_one(simulator: Simulator, save: Save) -> None:
    """What the flow `renew-access-token` has renewed the fleet reuses, and the other way round."""
    first, second = save("a"), save("b")
    renew_access_token(first)
    sessions = renew_fleet([first, second], per_second=FAST)
    assert [True, False] == [sessions[first].reused, sessions[second].reused]
    assert renew_access_token(second).reused is True
    assert 2 == renewals(simulator)


@pytest.mark.essential
def test_one_bad_token_never_stops_the_others(simulator: Simulator, save: Save) -> None:
    """Whatever is wrong with some, the others are renewed, and the run's end names each and why."""
    good, gone = [save("a"), save("z")], simulator.sign_in("live")
    refused, wrong = save("refused", gone), save("wrong", consumer_key="fake-unknown-key")
    simulator.revoke(gone)
    out, bad, missing = (
        save("out", access_token=None, access_token_secret=None),
        save("bad", environment="moon"),
        f"{good[0]}-missing",
    )
    state = renew_fleet([*good, refused, wrong, out, bad, missing], per_second=FAST, return_state=True)
    error = state.result(raise_on_failure=False)
    assert (True, TokensNotRenewed, 2) == (state.is_failed(), type(error), error.good)
    assert {
        refused: SignInRequired,
        out: SignInRequired,
        wrong: ConfigurationRefused,
        bad: CredentialsInvalid,
        missing: CredentialsNotFound,
    } == {name: type(each) for name, each in error.errors.items()}
    assert f"2 of 7 sessions are good. Sign in: {out}, {refused}." in state.message
    assert f"CredentialsNotFound: {missing}." in state.message
    assert f"CredentialsInvalid: {bad}." in state.message
    assert [out, refused] == list(rows())[:2]
    assert good == list(rows())[-2:]
