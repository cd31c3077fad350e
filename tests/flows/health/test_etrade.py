"""What the doctor learns from one request-token call and one data call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from etrade_flows.health.etrade import (
    DATA_PATH,
    check_addresses,
    check_clock,
    check_consumer_key,
    check_data_call,
    check_etrade,
    check_key_age,
)
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import Health, SkipCheck
from etrade_flows.person.login import without_token
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials
from etrade_tasks.clock import use_clock

from .expecting import expect

REQUEST = "/oauth/request_token"
CredentialsFor = Callable[..., ETradeCredentials]


def with_credentials(credentials: ETradeCredentials) -> Facts:
    facts = Facts("main")
    facts.credentials = credentials
    return facts


@pytest.fixture
def facts(credentials: ETradeCredentials) -> Facts:
    """Facts of a token that was just issued."""
    return with_credentials(credentials)


def test_key_that_etrade_takes_is_ok(simulator: Simulator, facts: Facts) -> None:
    """With the right key and secret, three checks are ok after one call."""
    found = [check_etrade(facts), check_consumer_key(facts), check_clock(facts)]
    assert [Health.OK] * 3 == [finding.verdict for finding in found]
    assert [REQUEST] == [call.path for call in simulator.calls()]


def test_refused_key_is_told_with_its_likely_causes(
    simulator: Simulator, credentials_for: CredentialsFor
) -> None:
    """If E*TRADE refuses a key, here a live one at the sandbox's address, the likely causes are named."""
    sandbox = f"{simulator.api_url('sandbox')}/oauth"
    facts = with_credentials(credentials_for(simulator.sign_in("live"), oauth_url=sandbox))
    causes = "Likely causes: a sandbox key used as live or the reverse; a key past the two years"
    remedy = "Prefect UI > Blocks > main > Edit"
    expect(check_consumer_key(facts), Health.PROBLEM, says=causes, remedy=remedy)


@pytest.mark.parametrize(
    ("age", "verdict", "says"),
    [
        (None, Health.OK, "date of issue is not known"),
        (600, Health.OK, "works until about 2027-10-23"),
        (705, Health.WARNING, "two years old in 25 days"),
    ],
)
def test_age_of_the_key_is_judged(
    credentials: ETradeCredentials, noon: datetime, age: int | None, verdict: Health, says: str
) -> None:
    """A key within thirty days of its two years is a warning, if its date is known."""
    issued_on = None if age is None else noon.date() - timedelta(days=age)
    aged = credentials.model_copy(update={"consumer_key_issued_on": issued_on})
    with use_clock(lambda: noon):
        expect(check_key_age(with_credentials(aged)), verdict, says=says)


def test_wrong_secret_is_told_from_a_wrong_key(simulator: Simulator, credentials_for: CredentialsFor) -> None:
    """A wrong signature points to the consumer secret."""
    credentials = credentials_for(simulator.sign_in("live"), consumer_secret="fake-mistyped-secret")
    says = "(signature_invalid). The consumer secret is mistyped"
    expect(check_consumer_key(with_credentials(credentials)), Health.PROBLEM, says=says)


def test_refusal_without_a_reason_speaks_of_no_token(simulator: Simulator, facts: Facts) -> None:
    """A bare 401 is about the key, since the call carries no token."""
    simulator.plant(Fault(status=401, body=""), path=REQUEST)
    finding = check_consumer_key(facts)
    assert (Health.PROBLEM, False) == (finding.verdict, "token" in finding.says)


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=200, body="<html>Maintenance</html>")])
def test_etrade_that_does_not_serve_is_a_warning(simulator: Simulator, facts: Facts, fault: Fault) -> None:
    """A maintenance page says nothing about the key, whatever its status."""
    simulator.plant(fault, path=REQUEST)
    expect(check_etrade(facts), Health.WARNING)
    with pytest.raises(SkipCheck):
        check_consumer_key(facts)
    assert 1 == len(simulator.calls(REQUEST))


def test_no_answer_is_a_problem(simulator: Simulator, credentials_for: CredentialsFor) -> None:
    """If nobody listens, one finding says so, and the checks of key and clock are skipped."""
    facts = with_credentials(credentials_for(simulator.sign_in("live"), oauth_url="http://127.0.0.1:9/oauth"))
    expect(check_etrade(facts), Health.PROBLEM, says="Connection refused")
    for check in (check_consumer_key, check_clock):
        with pytest.raises(SkipCheck):
            check(facts)


@pytest.mark.parametrize(
    ("behind", "verdict"),
    [(0, Health.OK), (50, Health.OK), (70, Health.WARNING), (-70, Health.WARNING), (-285, Health.WARNING)],
)
def test_clock_is_compared(simulator: Simulator, facts: Facts, behind: int, verdict: Health) -> None:
    """A clock that is off by up to a minute is ok, and up to five minutes a warning, in either direction."""
    with use_clock(lambda: simulator.now() - timedelta(seconds=behind)):
        assert verdict is check_clock(facts).verdict


@pytest.mark.parametrize(("behind", "told"), [(400, "behind"), (-400, "ahead of")])
def test_clock_that_etrade_refuses_is_a_problem(
    simulator: Simulator, facts: Facts, behind: int, told: str
) -> None:
    """If the clock is more than five minutes off, the finding says how far, and the key is not judged."""
    with use_clock(lambda: simulator.now() - timedelta(seconds=behind)):
        finding = check_clock(facts)
        expect(check_etrade(facts), Health.OK)
        with pytest.raises(SkipCheck):
            check_consumer_key(facts)
    expect(finding, Health.PROBLEM, says=f"s {told} E*TRADE's", remedy="NTP")


LIVE, SANDBOX = "https://api.etrade.com", "https://apisb.etrade.com"


@pytest.mark.parametrize(
    ("environment", "oauth", "api", "verdict"),
    [
        ("live", "", "", Health.OK),
        ("sandbox", "", "", Health.OK),
        ("sandbox", f"{LIVE}/oauth", SANDBOX, Health.OK),
        ("sandbox", f"{SANDBOX}/oauth", "", Health.OK),
        ("live", f"{SANDBOX}/oauth", "", Health.PROBLEM),
        ("live", "", SANDBOX, Health.PROBLEM),
        ("sandbox", "", LIVE, Health.PROBLEM),
        ("live", "https://etrade.example/oauth", "", Health.WARNING),
    ],
)
def test_addresses_fit_the_environment(
    simulator: Simulator,
    credentials_for: CredentialsFor,
    *,
    environment: str,
    oauth: str,
    api: str,
    verdict: Health,
) -> None:
    """The other environment's address is a problem; an address outside E*TRADE is a warning that hides it."""
    token = simulator.sign_in("live")
    credentials = credentials_for(token, environment=environment, oauth_url=oauth, api_url=api)
    finding = check_addresses(with_credentials(credentials))
    assert verdict is finding.verdict
    assert "example" not in finding.says + finding.remedy
    assert [] == simulator.calls(REQUEST)


REFUSED = "E*TRADE's {} API refuses the consumer key"
LOGIN, CORRECT = "etrade-session login --credentials main", "correct the environment"


@pytest.mark.parametrize(
    ("key", "changes", "verdict", "says", "remedy"),
    [
        ("live", {}, Health.OK, "serves the key and the token", ""),
        ("sandbox", {"environment": "live"}, Health.PROBLEM, REFUSED.format("live"), CORRECT),
        ("live", {"environment": "sandbox"}, Health.PROBLEM, REFUSED.format("sandbox"), CORRECT),
        ("live", {"access_token_secret": "fake-other"}, Health.PROBLEM, "refuses the signature", LOGIN),
        ("live", {"api_url": "http://127.0.0.1:9"}, Health.PROBLEM, "ConnectError", "network"),
    ],
)
def test_data_call_is_judged(
    simulator: Simulator,
    credentials_for: CredentialsFor,
    *,
    key: str,
    changes: dict[str, str],
    verdict: Health,
    says: str,
    remedy: str,
) -> None:
    """One data call shows whether key, token and secret fit the environment, and each refusal its remedy."""
    said = {"api_url": simulator.api_url(changes.get("environment", key))} | changes
    finding = check_data_call(with_credentials(credentials_for(simulator.sign_in(key), **said)))
    expect(finding, verdict, says=says, remedy=remedy)
    assert ("ConnectError" != says) == len(simulator.calls())


def test_data_call_that_is_not_served_now_is_a_warning(simulator: Simulator, facts: Facts) -> None:
    """A busy E*TRADE and an idle token are only warnings, since both may pass without a sign-in."""
    simulator.plant(Fault(status=503), path=DATA_PATH)
    expect(check_data_call(facts), Health.WARNING, says="status 503", remedy="in a few minutes")
    simulator.advance(timedelta(hours=3))
    renew = "etrade-session renew --credentials main"
    expect(check_data_call(facts), Health.WARNING, says="does not serve the token now", remedy=renew)


def test_without_a_token_no_data_call_is_made(simulator: Simulator, credentials: ETradeCredentials) -> None:
    """If nobody is signed in, the check is skipped without a call."""
    with pytest.raises(SkipCheck, match="Nobody is signed in"):
        check_data_call(with_credentials(without_token(credentials)))
    assert [] == simulator.calls()
