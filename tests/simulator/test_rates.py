"""E*TRADE's rate limits."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests

from etrade_simulator import Simulator, SimulatorClock
from etrade_simulator.problems import RateExceeded
from etrade_simulator.rates import ETRADE_LIMITS, RateCounter, RateLimit

Call = Callable[..., requests.Response]

NOON = datetime(2025, 1, 15, 17, 0, tzinfo=UTC)


@pytest.fixture
def simulator(clock: SimulatorClock) -> Iterator[Simulator]:
    """A simulator that enforces E*TRADE's limits, on a clock that stands still."""
    with Simulator(clock=clock, rate_limits=True) as simulator:
        yield simulator


def test_the_third_accounts_call_in_a_second_is_one_too_many(
    simulator: Simulator, list_accounts: Call
) -> None:
    """Two calls succeed, the third gets status 400 and E*TRADE's sentence, and a second later calls pass."""
    token = simulator.sign_in("live")
    answers = [list_accounts(token) for _ in range(3)]
    assert [200, 200, 400] == [answer.status_code for answer in answers]
    assert "Number of requests exceeded the rate limit set" == answers[-1].text
    simulator.advance(timedelta(seconds=1))
    assert 200 == list_accounts(token).status_code


def test_four_market_calls_a_second_pass(simulator: Simulator, sign: Call, list_accounts: Call) -> None:
    """The market module allows four calls a second, and does not count them against the accounts."""
    token = simulator.sign_in("live")
    url = simulator.api_url("live") + "/v1/market/quote/AAPL.json"
    assert [200, 200, 200, 200, 400] == [sign(token, url).status_code for _ in range(5)]
    assert 200 == list_accounts(token).status_code


def test_oauth_calls_are_not_limited(simulator: Simulator, renew: Call) -> None:
    """OAuth calls have no limit, since E*TRADE lists none."""
    token = simulator.sign_in("live")
    assert [200] * 6 == [renew(token).status_code for _ in range(6)]


@pytest.mark.parametrize(("module", "hourly"), [("accounts", 7_000), ("market", 14_000)])
def test_the_hourly_limit_holds_over_spread_calls(module: str, hourly: int) -> None:
    """As many evenly spread calls as an hour allows succeed, and the next one is refused."""
    counter = RateCounter(ETRADE_LIMITS)
    step = timedelta(hours=1) / (hourly + 10)
    for number in range(hourly):
        counter.count("key", module, NOON + number * step)
    with pytest.raises(RateExceeded):
        counter.count("key", module, NOON + hourly * step)
    counter.count("key", module, NOON + timedelta(hours=1))


def test_limits_can_be_set_by_module(clock: SimulatorClock) -> None:
    """A module without a limit takes any number of calls; with one, each consumer key has its own count."""
    counter = RateCounter({"market": RateLimit(per_second=1, per_hour=1)})
    for _ in range(50):
        counter.count("key", "accounts", clock())
    for key in ("key", "another"):
        counter.count(key, "market", clock())
    with pytest.raises(RateExceeded):
        counter.count("key", "market", clock())
