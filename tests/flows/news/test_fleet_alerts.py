"""The alerts about a fleet, from the ready automations on a real server: one for all of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from prefect import flow

from etrade_flows import renew_fleet
from etrade_flows.news.fleet_news import FleetEvent, FleetNews, emit_fleet, not_renewed_news, renewed_news
from etrade_simulator import Simulator
from etrade_tasks import SignInRequired, TokensNotRenewed

pytestmark = [
    pytest.mark.usefixtures("installed", "quick_retries", "empty_memory"),
    pytest.mark.starts_programs,
]

FAST = 1_000.0


@pytest.fixture
def save(server: None, simulator: Simulator, credentials_for: Any) -> Callable[..., Any]:
    """Saves the block of a token just issued, with these changes, and returns the token."""

    def make(name: str, **changes: object) -> Any:
        token = simulator.sign_in("live")
        credentials_for(token, **changes).save(name, overwrite=True)
        return token

    return make


@pytest.fixture
def until_heard(inbox: Any, wait_until: Callable[..., None]) -> Callable[..., None]:
    """Repeats an action until this many notifications have come since the test began.

    While SQLite is busy, the server (3.8) sometimes drops an event; the next run reports the same again.
    """
    inbox.received.clear()

    def act(count: int, action: Callable[[], object]) -> None:
        for _ in range(6):
            action()
            with suppress(AssertionError):
                wait_until(lambda: len(inbox.received) >= count, 10)
                return

    return act


@flow
def tells(event: FleetEvent, news: FleetNews) -> None:
    """Reports the news of a fleet, as a run of `renew-fleet` would."""
    emit_fleet(event, news)


def test_all_clear_follows_an_alert(
    server: None, noon: datetime, inbox: Any, until_heard: Callable[..., None]
) -> None:
    """When the whole fleet is good again, people get one all-clear after each alert, and none without one."""
    out = TokensNotRenewed("It is over.", errors={"any": SignInRequired("It is over.")})
    good, bad = "2 of 2 sessions are good", ("1 of 2 sessions are good", "0 of 2 sessions are good")
    all_clear = renewed_news(good, noon)
    tells(FleetEvent.RENEWED, all_clear)
    for number, summary in enumerate(bad):
        alert = not_renewed_news(out, summary, {"any": summary}, noon)
        until_heard(2 * number + 1, partial(tells, FleetEvent.NOT_RENEWED, alert))
        until_heard(2 * number + 2, partial(tells, FleetEvent.RENEWED, all_clear))
    well = f"E*TRADE: all is well again, {good}"
    expected = [f"E*TRADE: {bad[0]}", well, f"E*TRADE: {bad[1]}", well]
    assert expected == [sent["subject"] for sent in inbox.received]


def test_one_alert_names_all_who_need_somebody(
    simulator: Simulator, save: Callable[..., Any], inbox: Any, until_heard: Callable[..., None]
) -> None:
    """All failing tokens of a run cause one alert; the same failures cause no second, but a new one does."""
    out = {"access_token": None, "access_token_secret": None}
    names = ("fleet-good", "fleet-out-1", "fleet-out-2", "fleet-wrong")
    for name, changes in zip(names, ({}, out, out, {"consumer_key": "fake-unknown-key"}), strict=True):
        save(name, **changes)

    renew = partial(renew_fleet, ["fleet-*"], per_second=FAST, return_state=True)
    until_heard(1, renew)
    renew()
    save("fleet-good", **out)
    until_heard(2, renew)
    renew()
    first, second = inbox.received
    assert "E*TRADE: 1 of 4 sessions are good" == first["subject"]
    sign_in, _, failed, _, advice, _, told_by, *_ = first["body"].splitlines()
    assert "Sign in (2): fleet-out-1, fleet-out-2" == sign_in
    assert "fleet-wrong: ConfigurationRefused" == failed
    assert advice.startswith("Next: follow the advice for each in the table `etrade-fleet`")
    assert told_by.startswith("Reported by: renew fleet: 1 of 4 sessions are good http://prefect.example/")
    assert "E*TRADE: 0 of 4 sessions are good" == second["subject"]
    assert "Sign in (3): fleet-good, fleet-out-1, fleet-out-2" == second["body"].splitlines()[0]
