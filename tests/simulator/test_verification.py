"""What makes a signed call acceptable: its parameters, its clock, its nonce and its signature."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from etrade_simulator import Simulator
from etrade_simulator.problems import OAuthProblem
from etrade_simulator.verification import SignedCall, check_protocol, check_signature, check_timestamp

Call = Callable[..., requests.Response]

# E*TRADE's authorization guide prints this call and its signature, so that clients can be checked.
GUIDE_SECRETS = ("7d30246211192cda43ede3abd9b393b9", "XCF9RzyQr4UEPloA+WlC06BnTfYC1P0Fwr3GUw/B0Es=")
GUIDE_HEADER = (
    'OAuth realm="",oauth_signature="UOnPVdzExTAgHkcGWLLfeTaaMSM%3D",'
    'oauth_nonce="0bba225a40d1bbac2430aa0c6163ce44",oauth_signature_method="HMAC-SHA1",'
    'oauth_consumer_key="c5bb4dcb7bd6826c7c4340df3f791188",oauth_timestamp="1344885636",'
    'oauth_token="VbiNYl63EejjlKdQM6FeENzcnrLACrZ2JYD6NQROfVI%3D"'
)


def guide_call(**changes: str) -> SignedCall:
    """The guide's call, with parts of its header replaced."""
    header = GUIDE_HEADER
    for old, new in changes.items():
        header = header.replace(old, new)
    return SignedCall("GET", "https://api.etrade.com/v1/accounts/list", {"authorization": header})


def test_etrades_own_example_verifies() -> None:
    """The signature printed in E*TRADE's guide is accepted for the call printed beside it."""
    call = guide_call()
    check_protocol(call)
    check_signature(call, *GUIDE_SECRETS)


def test_a_changed_parameter_spoils_the_signature() -> None:
    """The example does not verify with another nonce."""
    with pytest.raises(OAuthProblem, match="signature_invalid"):
        check_signature(guide_call(**{"0bba": "0bbb"}), *GUIDE_SECRETS)


@pytest.mark.parametrize(
    "name",
    ["oauth_consumer_key", "oauth_signature_method", "oauth_signature", "oauth_timestamp", "oauth_nonce"],
)
def test_each_required_parameter_is_named_when_absent(name: str) -> None:
    """A header without one of the five parameters is refused, and the answer names it."""
    with pytest.raises(OAuthProblem) as refused:
        check_protocol(guide_call(**{f'{name}="': f'x_{name}="'}))
    expected = [("oauth_problem", "parameter_absent"), ("oauth_parameters_absent", name)]
    assert (400, expected) == (refused.value.status, refused.value.pairs())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"HMAC-SHA1": "PLAINTEXT"}, "signature_method_rejected"),
        ({"HMAC-SHA1": "HMAC-SHA256"}, "signature_method_rejected"),
        ({"realm": 'oauth_version="2.0",realm'}, "version_rejected"),
        ({"OAuth realm": "OAuth ,,realm"}, "parameter_rejected"),
    ],
)
def test_what_is_not_oauth_as_etrade_speaks_it_is_a_bad_request(
    changes: dict[str, str], problem: str
) -> None:
    """Other methods and versions and unreadable parameters are refused with status 400."""
    with pytest.raises(OAuthProblem) as refused:
        check_protocol(guide_call(**changes))
    assert (400, problem) == (refused.value.status, refused.value.problem)


def test_a_parameter_in_header_and_query_is_a_bad_request() -> None:
    """A protocol parameter must not come twice (RFC 5849, section 3.1)."""
    call = replace(guide_call(), uri="https://api.etrade.com/v1/accounts/list?oauth_nonce=again")
    with pytest.raises(OAuthProblem, match="parameter_rejected"):
        check_protocol(call)


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("AUTH_HEADER", {"params": [("a", "x y"), ("a", "1+1"), ("b", "")]}),
        ("QUERY", {}),
        ("BODY", {"method": "POST", "data": {"extra": "a b+c"}}),
    ],
)
def test_the_parameters_may_come_in_header_query_or_body(
    simulator: Simulator, renew: Call, place: str, options: dict[str, Any]
) -> None:
    """Parameters are read from all three places that RFC 5849, section 3.5, allows, and all are signed."""
    assert 200 == renew(simulator.sign_in("live"), signature_type=place, **options).status_code


@pytest.mark.parametrize("timestamp", ["1736952900", "1736953200", "1736953500"])
def test_timestamps_are_good_for_five_minutes_either_way(timestamp: str) -> None:
    """A timestamp that is 300 seconds early or late is accepted."""
    assert int(timestamp) == check_timestamp(timestamp, datetime(2025, 1, 15, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    "timestamp", ["1736952899", "1736953501", "soon", "-1", "1736953200.5", "\u0661\u0662\u0663"]
)
def test_any_other_timestamp_is_refused(timestamp: str) -> None:
    """Timestamps of 301 seconds earlier or later, words, signs, fractions and other digits are refused."""
    with pytest.raises(OAuthProblem, match="timestamp_refused"):
        check_timestamp(timestamp, datetime(2025, 1, 15, 15, tzinfo=UTC))


def test_a_wider_tolerance_lets_a_client_live_by_another_clock(simulator: Simulator, renew: Call) -> None:
    """With a tolerance of a day, a timestamp that is three hours off is accepted."""
    assert timedelta(minutes=5) == simulator.timestamp_tolerance
    simulator.timestamp_tolerance = timedelta(days=1)
    timestamp = str(int((simulator.now() - timedelta(hours=3)).timestamp()))
    assert 200 == renew(simulator.sign_in("live"), timestamp=timestamp).status_code


def test_a_nonce_may_come_again_with_another_timestamp_or_key(simulator: Simulator, renew: Call) -> None:
    """A nonce may be used again with another timestamp, and by another consumer."""
    token, other = simulator.sign_in("live"), simulator.sign_in("sandbox")
    statuses = [renew(each, nonce="n" * 32).status_code for each in (token, other)]
    simulator.advance(timedelta(seconds=1))
    assert [200, 200, 200] == [*statuses, renew(token, nonce="n" * 32).status_code]


def test_a_forged_call_does_not_spoil_the_nonce(simulator: Simulator, renew: Call) -> None:
    """After a call with a wrong signature, its nonce still works with the right one."""
    token = simulator.sign_in("live")
    forged = renew(replace(token, token_secret="wrong"), nonce="n" * 32)
    assert [401, 200] == [forged.status_code, renew(token, nonce="n" * 32).status_code]


def test_a_renewal_without_a_token_is_refused(simulator: Simulator, renew: Call) -> None:
    """A renewal that only the consumer signs is refused, because its token is missing."""
    answer = renew(simulator.consumer("live"))
    assert "oauth_problem=parameter_absent&oauth_parameters_absent=oauth_token" == answer.text
