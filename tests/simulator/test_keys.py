"""Consumer keys: live and sandbox, and how they lapse."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import requests

from etrade_simulator import Simulator

Call = Callable[..., requests.Response]


@pytest.mark.parametrize(
    ("key", "at", "status"),
    [("live", "live", 200), ("sandbox", "sandbox", 200), ("live", "sandbox", 401), ("sandbox", "live", 401)],
)
def test_data_calls_take_their_own_environments_keys(
    simulator: Simulator, sign: Call, key: str, at: str, status: int
) -> None:
    """A key used at the other environment's address is refused."""
    answer = sign(simulator.sign_in(key), simulator.api_url(at) + "/v1/accounts/list.json")
    assert status == answer.status_code
    assert (status == 401) == ("oauth_problem=consumer_key_rejected" in answer.text)


@pytest.mark.parametrize(("environment", "status"), [("sandbox", 200), ("live", 401)])
def test_the_sandbox_host_has_oauth_calls_for_sandbox_keys(
    simulator: Simulator, sign: Call, environment: str, status: int
) -> None:
    """Some clients renew at the sandbox's own address, where live keys are refused."""
    url = simulator.api_url("sandbox") + "/oauth/renew_access_token"
    assert status == sign(simulator.sign_in(environment), url).status_code


@pytest.mark.parametrize(
    ("issued_on", "lapses_on"),
    [((2023, 7, 15), (2025, 7, 15)), ((2024, 2, 29), (2026, 3, 1))],  # each with a 29 February in it
)
def test_a_key_lapses_two_years_after_its_issue(
    simulator: Simulator, renew: Call, issued_on: tuple[int, int, int], lapses_on: tuple[int, int, int]
) -> None:
    """A key works until it is two calendar years old, and is then rejected without warning."""
    consumer = simulator.add_consumer("live", issued_at=datetime(*issued_on, 15, tzinfo=UTC))
    simulator.set_time(datetime(*lapses_on, 15, tzinfo=UTC) - timedelta(seconds=1))
    token = simulator.sign_in("live", consumer=consumer)
    before = renew(token).status_code
    simulator.advance(timedelta(seconds=1))
    after = renew(token)
    assert (200, 401) == (before, after.status_code)
    assert "oauth_problem=consumer_key_rejected" in after.text


def test_the_ready_made_keys_never_lapse(simulator: Simulator, renew: Call) -> None:
    """A key without a date of issue still works after ten years."""
    simulator.advance(timedelta(days=3650))
    assert 200 == renew(simulator.sign_in("live")).status_code


def test_every_simulator_has_keys_of_its_own() -> None:
    """No two simulators share a consumer key or secret."""
    with Simulator() as one, Simulator() as other:
        consumers = [each.consumer(name) for each in (one, other) for name in ("live", "sandbox")]
    assert 8 == len({text for each in consumers for text in (each.key, each.secret)})


def test_an_unknown_environment_is_an_error(simulator: Simulator) -> None:
    """A mistyped environment is an error."""
    with pytest.raises(KeyError):
        simulator.api_url("production")
