"""What the doctor learns from one data call."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta

import pytest

from etrade_flows.health.etrade import DATA_PATH, check_data_call
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.person.login import without_token
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials

CredentialsFor = Callable[..., ETradeCredentials]


def facts(credentials: ETradeCredentials) -> Facts:
    found = Facts("main")
    found.credentials = credentials
    return found


def test_token_that_is_served_is_ok(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """With the right key in the right environment all is well, and one call has told it."""
    assert Health.OK is check_data_call(facts(credentials)).verdict
    assert [DATA_PATH] == [call.path for call in simulator.calls()]


@pytest.mark.parametrize(("real", "said"), [("sandbox", "live"), ("live", "sandbox")])
def test_key_of_the_other_environment_is_a_problem(
    simulator: Simulator, credentials_for: CredentialsFor, real: str, said: str
) -> None:
    """A key that is said to be of the other environment signs OAuth calls, and no data call."""
    wrong = credentials_for(simulator.sign_in(real), environment=said, api_url=simulator.api_url(said))
    finding = check_data_call(facts(wrong))
    assert Health.PROBLEM is finding.verdict
    assert f"E*TRADE's {said} API refuses the consumer key" in finding.says
    assert "correct the environment" in finding.remedy


def test_wrong_token_secret_is_a_problem(simulator: Simulator, credentials_for: CredentialsFor) -> None:
    """A token with another's secret signs nothing, and is replaced by a new sign-in."""
    wrong = credentials_for(simulator.sign_in("live"), access_token_secret="fake-other-secret")
    finding = check_data_call(facts(wrong))
    assert (Health.PROBLEM, True) == (finding.verdict, "refuses the signature" in finding.says)
    assert "etrade-session login --credentials main" in finding.remedy


def test_idle_token_is_a_warning(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """A token that has gone idle can be renewed, and the command that does it is named."""
    simulator.advance(timedelta(hours=3))
    finding = check_data_call(facts(credentials))
    assert Health.WARNING is finding.verdict
    assert "etrade-session renew --credentials main" in finding.remedy


def test_busy_api_is_a_warning(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """A failure of E*TRADE's own says nothing of the key."""
    simulator.plant(Fault(status=503), path=DATA_PATH)
    finding = check_data_call(facts(credentials))
    assert (Health.WARNING, True) == (finding.verdict, "status 503" in finding.says)


def test_no_answer_is_a_problem(simulator: Simulator, credentials_for: CredentialsFor) -> None:
    """An API that cannot be reached points to the network and the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
        finding = check_data_call(facts(credentials_for(simulator.sign_in("live"), api_url=nowhere)))
    assert (Health.PROBLEM, True) == (finding.verdict, "ConnectError" in finding.says)


def test_without_a_token_nothing_is_called(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """Where nobody is signed in, the check is left out."""
    with pytest.raises(SkipCheck, match="Nobody is signed in"):
        check_data_call(facts(without_token(credentials)))
    assert [] == simulator.calls()
