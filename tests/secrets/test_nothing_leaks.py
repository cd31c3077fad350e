"""A sweep for canaries: what a day of renewals leaves behind holds none of its secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import quote

import pytest
from prefect import flow
from prefect.logging import get_run_logger

from etrade_flows import renew_access_token
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, ETradeError

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries")

RENEW = "/oauth/renew_access_token"


@pytest.fixture
def canaries(credentials: ETradeCredentials) -> list[str]:
    """Every secret of the credentials, as it is and percent-encoded."""
    keys = credentials.signing_keys
    secrets = (keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret)
    return [spelling for secret in secrets for spelling in (secret, quote(secret, safe=""))]


@pytest.fixture
def full_day(
    simulator: Simulator, block: str, canaries: list[str], caplog: pytest.LogCaptureFixture
) -> Iterator[str]:
    """A day with every kind of ending and all secrets echoed; yields what was logged or raised."""
    caplog.set_level(logging.DEBUG)
    echo = " ".join(canaries)
    faults = [
        Fault(status=200, body=f"maintenance {echo}"),
        Fault(status=401, body=f"oauth_problem=token_rejected&echo={echo}"),
        Fault(status=401, body=f"oauth_problem=consumer_key_rejected {echo}", headers={"X-Echo": echo}),
        Fault(status=500, body=f"<pre>{echo}</pre>"),
        Fault(drop="mid-body"),
        None,
    ]
    told = []

    @flow
    def pipeline() -> None:
        renew_access_token(block, force=True)

    for fault in faults:
        if fault:
            simulator.plant(fault, path=RENEW, times=7)
        try:
            pipeline()
        except ETradeError as error:
            told.append(repr(error) + str(error) + repr(error.__cause__) + repr(error.__context__))
        simulator.clear_faults()
    simulator.advance(timedelta(hours=12))
    with pytest.raises(ETradeError):
        pipeline()
    return caplog.text + "".join(told)


def test_sweep_would_find_a_leak(database: Callable[[], str], wait_until: Callable[..., None]) -> None:
    """The sweep can fail: what is logged in a flow run does turn up in the database."""

    @flow
    def careless() -> None:
        get_run_logger().info("fake-canary-that-was-logged")

    careless()
    wait_until(lambda: "fake-canary-that-was-logged" in database(), seconds=30)


@pytest.mark.essential
def test_logs_and_errors_hold_no_secret(full_day: str, canaries: list[str]) -> None:
    """Nothing that was logged at any level, raised or chained to what was raised shows a secret."""
    assert "Attempt 1 to renew" in full_day
    assert [] == [canary for canary in canaries if canary in full_day]


@pytest.mark.essential
def test_database_holds_no_secret(
    full_day: str, canaries: list[str], database: Callable[[], str], wait_until: Callable[..., None]
) -> None:
    """The server's database, its events, logs, states, parameters and encrypted blocks, shows no secret."""
    # Logs and events are written after the run; the last that this day logs tells that they have arrived.
    wait_until(lambda: "ended at 2027-06-16 00:00 US Eastern" in database(), seconds=60)
    content = database()
    assert "Attempt 7 to renew" in content
    assert [] == [canary for canary in canaries if canary in content]


@pytest.mark.essential
def test_result_files_hold_no_secret(
    full_day: str, canaries: list[str], files_at_rest: Callable[[], dict[str, bytes]]
) -> None:
    """No file under the result storage or the Prefect home shows a secret."""
    files = files_at_rest()
    leaks = [(name, c) for name, content in files.items() for c in canaries if c.encode() in content]
    assert any("etrade-session-live-" in name for name in files)
    assert [] == leaks
