"""What a fleet tells people, by the ready automations on a real server: once for all of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from etrade_flows import renew_fleet
from etrade_simulator import Simulator

pytestmark = [
    pytest.mark.usefixtures("installed", "quick_retries", "empty_memory"),
    pytest.mark.starts_programs,
]

SECONDS = 30
FAST = 1_000.0


@pytest.fixture
def save(server: None, simulator: Simulator, credentials_for: Any) -> Callable[..., Any]:
    """Saves the block of a token just issued, with these changes; gives the token."""

    def make(name: str, **changes: object) -> Any:
        token = simulator.sign_in("live")
        credentials_for(token, **changes).save(name, overwrite=True)
        return token

    return make


def test_all_clear_follows_an_alert(
    simulator: Simulator, save: Callable[..., Any], inbox: Any, wait_until: Callable[..., None]
) -> None:
    """Once the whole fleet is good again people are told, once and never without an alert before."""
    save("clear-a")
    renew_fleet(["clear-*"], per_second=FAST, return_state=True)  # which is good, and tells nobody
    save("clear-b", access_token=None, access_token_secret=None)
    renew_fleet(["clear-*"], per_second=FAST, return_state=True)
    wait_until(lambda: len(inbox.received) >= 1, SECONDS)
    save("clear-b")
    renew_fleet(["clear-*"], per_second=FAST, return_state=True)
    wait_until(lambda: len(inbox.received) >= 2, SECONDS)
    renew_fleet(["clear-*"], per_second=FAST, return_state=True)
    assert [
        "E*TRADE: 1 of 2 sessions are good",
        "E*TRADE: all is well again, 2 of 2 sessions are good",
    ] == [sent["subject"] for sent in inbox.received]


def test_one_alert_names_all_who_need_somebody(
    simulator: Simulator, save: Callable[..., Any], inbox: Any, wait_until: Callable[..., None]
) -> None:
    """All troubled tokens of a run make one alert; the same troubles make no second, and new ones do."""
    inbox.received.clear()
    out = {"access_token": None, "access_token_secret": None}
    names = ("fleet-good", "fleet-out-1", "fleet-out-2", "fleet-wrong")
    for name, changes in zip(names, ({}, out, out, {"consumer_key": "fake-unknown-key"}), strict=True):
        save(name, **changes)

    def run(heard: int) -> None:
        """Renew, and wait for the notification: while SQLite is busy, the server drops an event (3.8)."""
        renew_fleet(["fleet-*"], per_second=FAST, return_state=True)
        wait_until(lambda: len(inbox.received) >= heard, SECONDS)

    run(1)
    run(1)
    save("fleet-good", **out)
    run(2)
    run(2)
    first, second = inbox.received
    assert "E*TRADE: 1 of 4 sessions are good" == first["subject"]
    sign_in, _, failed, _, advice, _, told_by, *_ = first["body"].splitlines()
    assert "Sign in (2): fleet-out-1, fleet-out-2" == sign_in
    assert "fleet-wrong: ConfigurationRefused" == failed
    assert advice.startswith("Next: follow the advice for each in the table `etrade-fleet`")
    assert told_by.startswith("Reported by: renew fleet: 1 of 4 sessions are good http://prefect.example/")
    assert "E*TRADE: 0 of 4 sessions are good" == second["subject"]
    assert "Sign in (3): fleet-good, fleet-out-1, fleet-out-2" == second["body"].splitlines()[0]
