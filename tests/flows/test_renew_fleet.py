"""The flow `renew-fleet`, on a real Prefect server and against the simulator."""

from __future__ import annotations

import json
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import State

from etrade_flows import renew_access_token, renew_fleet
from etrade_flows.access import renewal
from etrade_flows.fleet import board, members
from etrade_simulator import Fault, Simulator
from etrade_tasks import (
    ConfigurationRefused,
    CredentialsInvalid,
    CredentialsNotFound,
    ETradeCredentials,
    RenewalFailed,
    SignInRequired,
    TokensNotRenewed,
)
from etrade_tasks.renew_session import RETRIES

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"
FAST = 1_000.0
"""So many a second that nothing waits."""

Save = Callable[..., str]


def renewals(simulator: Simulator) -> int:
    return len(simulator.calls(RENEW))


def rows() -> dict[str, dict[str, str]]:
    """The table's rows, by the account."""
    return {row["account"]: row for row in json.loads(Artifact.get(board.TABLE).data)}


@pytest.mark.essential
def test_every_token_is_renewed_and_stands_in_one_table(simulator: Simulator, save: Save) -> None:
    """One call renews each token, the table has a row for each, and the progress is complete."""
    names = [save("a"), save("b"), save("c")]
    sessions = renew_fleet(names, per_second=FAST)
    assert (names, 3) == (sorted(sessions), renewals(simulator))
    assert dict.fromkeys(names, "✅ renewed") == {name: row["outcome"] for name, row in rows().items()}
    assert 100.0 == Artifact.get(board.PROGRESS).data
    assert "✅ 3 of 3 sessions are good" == Artifact.get(board.TABLE).description


def test_a_renewal_of_a_fleet_is_the_same_as_a_single_one(simulator: Simulator, save: Save) -> None:
    """The fleet reuses what the flow `renew-access-token` has renewed, and the other way round."""
    first, second = save("a"), save("b")
    renew_access_token(first)
    sessions = renew_fleet([first, second], per_second=FAST)
    assert [True, False] == [sessions[first].reused, sessions[second].reused]
    assert renew_access_token(second).reused is True
    assert 2 == renewals(simulator)


@pytest.mark.essential
def test_one_bad_token_never_stops_the_others(simulator: Simulator, save: Save) -> None:
    """Whatever is wrong with some tokens, the others are renewed; the error, even if pickled, names each."""
    good, gone = [save("a"), save("z")], simulator.sign_in("live")
    refused, wrong = save("refused", gone), save("wrong", consumer_key="fake-unknown-key")
    simulator.revoke(gone)
    out, bad, missing = (
        save("out", access_token=None, access_token_secret=None),
        save("bad", environment="moon"),
        f"{good[0]}-missing",
    )
    state = renew_fleet([*good, refused, wrong, out, bad, missing], per_second=FAST, return_state=True)
    error = pickle.loads(pickle.dumps(state.result(raise_on_failure=False)))  # noqa: S301  # it is our own
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


def test_names_may_be_patterns(simulator: Simulator, save: Save, block: str) -> None:
    """A star matches any characters, and each matching block is a member once, however often it is named."""
    names = [save("desk-1"), save("desk-2")]
    save("home")
    assert names == [member.name for member in members.members([f"{block}-desk-*", names[1]])]
    with pytest.raises(CredentialsNotFound, match="list of credentials is empty"):
        members.members([])
    with pytest.raises(CredentialsNotFound, match="a name like"):
        members.members([f"{block}-nobody-*"])


def test_all_blocks_are_found_page_by_page(
    save: Save, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without names every block of the type is included, however many the server returns at a time."""
    ours = {save(name) for name in "abcde"}
    whole = members.members(None)
    monkeypatch.setattr(members, "PAGE", 2)
    assert whole == members.members(None)
    assert ours < {member.name for member in whole}


def test_who_shares_a_consumer_key_is_known_by_a_number_alone(save: Save, simulator: Simulator) -> None:
    """Tokens with the same consumer key get the same number, and others another."""
    own = simulator.add_consumer("live")
    a, b, c = save("a"), save("b"), save("c", simulator.sign_in("live", consumer=own))
    assert [(a, 0), (b, 0), (c, 1)] == members.members([c, b, a])


def test_an_exception_that_nobody_expected_fails_its_token_alone(
    simulator: Simulator, save: Save, monkeypatch: pytest.MonkeyPatch, database: Callable[[], str]
) -> None:
    """An unexpected exception fails its own token only, and its type is shown but never its text."""
    good, broken = save("a"), save("broken")

    def breaks(name: str, *loaded_and_wanted: Any) -> object:
        if name == broken:
            raise ValueError("canary-secret-9d2e")
        return renewal.renew_latest(name, *loaded_and_wanted)

    monkeypatch.setattr(sys.modules["etrade_flows.renew_fleet"], "renew_latest", breaks)
    state = renew_fleet([good, broken], per_second=FAST, return_state=True)
    assert "1 of 2 sessions are good. ETradeError: " in state.message
    assert ("✅ renewed", "❌ failed") == (rows()[good]["outcome"], rows()[broken]["outcome"])
    assert "(ValueError)" in rows()[broken]["what happened"]
    assert "canary-secret" not in database()


def test_no_more_at_once_than_asked(
    simulator: Simulator, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a `concurrency` of two, at most two renewals run at the same time."""
    places, pair = threading.Semaphore(2), threading.Barrier(2, timeout=60)

    def by_twos(*asked: Any) -> object:
        assert places.acquire(blocking=False)
        try:
            pair.wait()
            return renewal.renew_latest(*asked)
        finally:
            places.release()

    monkeypatch.setattr(sys.modules["etrade_flows.renew_fleet"], "renew_latest", by_twos)
    assert 4 == len(renew_fleet([save(name) for name in "abcd"], concurrency=2, per_second=FAST))


def test_outage_costs_each_further_token_one_call(simulator: Simulator, save: Save) -> None:
    """Once as many tokens as run at once have failed, each further one makes one call until one succeeds."""
    names, tries = [save(str(number)) for number in range(6)], 1 + RETRIES
    simulator.plant(Fault(status=503), path=RENEW, times=tries + 3)
    state = renew_fleet(names, concurrency=1, per_second=FAST, return_state=True)
    error = state.result(raise_on_failure=False)
    assert dict.fromkeys(names[:4], RenewalFailed) == {n: type(e) for n, e in error.errors.items()}
    assert tries + 3 + 2 == renewals(simulator)


def test_sign_ins_that_were_told_fail_no_second_scheduled_run(
    simulator: Simulator, save: Save, run_by_schedule: Callable[..., State[Any]]
) -> None:
    """The first scheduled run that finds a sign-in due fails; the next completes, and names it too."""
    good, out = save("a"), save("out", access_token=None, access_token_secret=None)
    first = run_by_schedule(renew_fleet, [good, out], per_second=FAST)
    second = run_by_schedule(renew_fleet, [good, out], per_second=FAST)
    assert (True, True) == (first.is_failed(), second.is_completed())
    assert f"1 of 2 sessions are good. Sign in: {out}." == second.message.partition("\n")[0]


def test_same_alert_is_sent_by_each_run_until_something_changes(
    simulator: Simulator, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run sends the same alert again, because a server may lose an event, until somebody signs in."""
    sent: list[str] = []
    fleet_flow = sys.modules["etrade_flows.renew_fleet"]
    monkeypatch.setattr(fleet_flow, "emit_fleet", lambda news: sent.append(news.once))
    out = {"access_token": None, "access_token_secret": None}
    names = [save("a", **out), save("b", **out)]
    for _ in range(2):
        renew_fleet(names, per_second=FAST, return_state=True)
    assert (2, 1) == (len(sent), len(set(sent)))
    ETradeCredentials.model_validate(simulator.credentials(simulator.sign_in("live"))).save(
        names[0], overwrite=True
    )
    renew_fleet(names, per_second=FAST, return_state=True)
    assert 2 == len(sent)
