"""Planted faults of every kind."""

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
import requests

from etrade_simulator import AccessToken, Fault, Simulator

Call = Callable[..., requests.Response]

RENEW = "/oauth/renew_access_token"


@pytest.fixture
def token(simulator: Simulator) -> AccessToken:
    """A live token that data calls refuse until it is renewed."""
    return simulator.sign_in("live", last_used_at=simulator.now() - timedelta(hours=3))


@pytest.fixture
def struck(simulator: Simulator, renew: Call, token: AccessToken) -> Call:
    """Plants a fault for the next renewal, and makes it."""

    def call(fault: Fault, **options: object) -> requests.Response:
        simulator.plant(fault, path=RENEW)
        return renew(token, **options)

    return call


def test_a_fault_answers_in_the_services_place(struck: Call) -> None:
    """The fault's own status, body, content type and headers are sent."""
    headers = {"Retry-After": "7"}
    answer = struck(Fault(status=503, body="closed", content_type="text/plain", headers=headers))
    assert (503, "closed") == (answer.status_code, answer.text)
    assert ("text/plain", "7") == (answer.headers["Content-Type"], answer.headers["Retry-After"])


def test_faults_strike_in_the_order_planted(simulator: Simulator, renew: Call, token: AccessToken) -> None:
    """Faults are used in the order planted, each as many times as asked for, and are marked in the list."""
    simulator.plant(Fault(status=500), path=RENEW, times=2)
    simulator.plant(Fault(status=429), path=RENEW)
    assert [500, 500, 429, 200] == [renew(token).status_code for _ in range(4)]
    listed = [(call.status, call.faulted) for call in simulator.calls()]
    assert [(500, True), (500, True), (429, True), (200, False)] == listed


def test_a_fault_strikes_the_calls_of_its_path(simulator: Simulator, list_accounts: Call) -> None:
    """A fault of the renewal does not affect a data call, and one without a path strikes any call."""
    simulator.plant(Fault(status=500), path="renew_access_token")
    simulator.plant(Fault(status=429))
    token = simulator.sign_in("live")
    assert [429, 200] == [list_accounts(token).status_code for _ in range(2)]


@pytest.mark.parametrize(
    ("when", "later"), [("before", [401, 200]), ("verified", [401, 401]), ("after", [200, 401])]
)
def test_a_fault_says_whether_the_call_has_its_effect(
    *, struck: Call, renew: Call, list_accounts: Call, token: AccessToken, when: str, later: list[int]
) -> None:
    """Only a fault ``before`` leaves the nonce unused, and only one ``after`` lets the token be revived."""
    first = struck(Fault(status=502, when=when), nonce="n" * 32)
    used, repeated = list_accounts(token), renew(token, nonce="n" * 32)
    assert [502, *later] == [answer.status_code for answer in (first, used, repeated)]


def test_a_fault_for_verified_calls_waits_for_one(struck: Call, renew: Call, token: AccessToken) -> None:
    """A refused call gets its refusal, and the fault waits for the next call that is verified."""
    refused = struck(Fault(status=502, when="verified"), timestamp="1")
    assert [401, 502] == [refused.status_code, renew(token).status_code]


@pytest.mark.parametrize("fault", [Fault(delay=3600), Fault(drip=3600)], ids=["delayed", "dripping"])
def test_a_slow_answer_outlasts_a_short_patience(struck: Call, fault: Fault) -> None:
    """A client with a timeout of a twentieth of a second gives up on an answer that takes hours."""
    with pytest.raises((requests.ReadTimeout, requests.ConnectionError), match="timed out"):
        struck(fault, timeout=0.05)


@pytest.mark.parametrize("fault", [Fault(delay=0.01), Fault(drip=0.001)], ids=["delayed", "dripping"])
def test_a_short_delay_still_brings_the_calls_own_answer(struck: Call, fault: Fault) -> None:
    """A fault without a status delays the answer or each of its bytes, and does not change it."""
    assert "Access Token has been renewed" == struck(fault).text.strip()


@pytest.mark.parametrize(("when", "status"), [("before", 401), ("after", 200)])
def test_a_connection_can_be_dropped_before_any_byte(
    *, simulator: Simulator, struck: Call, list_accounts: Call, token: AccessToken, when: str, status: int
) -> None:
    """A dropped call gets no answer and is listed without a status; only ``after`` has it had its effect."""
    with pytest.raises(requests.ConnectionError, match="without response"):
        struck(Fault(drop="before-answer", when=when))
    assert [None] == [call.status for call in simulator.calls()]
    assert status == list_accounts(token).status_code


def test_a_connection_can_be_dropped_in_the_middle_of_the_body(simulator: Simulator) -> None:
    """Half of the promised bytes arrive, then the connection ends."""
    simulator.plant(Fault(status=200, body="x" * 100, drop="mid-body"), path=RENEW)
    with pytest.raises(httpx.RemoteProtocolError, match="received 50 bytes, expected 100"):
        httpx.get(simulator.url + RENEW)


def test_an_oversize_body_is_padded_and_does_not_say_its_length(struck: Call) -> None:
    """The body has the size asked for, and no Content-Length."""
    answer = struck(Fault(size=3_000_000))
    assert (3_000_000, None) == (len(answer.content), answer.headers.get("Content-Length"))
    assert "Access Token has been renewed" == answer.text.strip()


@pytest.mark.parametrize(
    "wrong", [{"when": "later"}, {"drop": "never"}, {"delay": -1.0}, {"drip": -1.0}, {"size": -1}]
)
def test_a_fault_that_cannot_be_is_an_error(wrong: dict[str, object]) -> None:
    """Unknown words and negative amounts are refused when the fault is made."""
    with pytest.raises(ValueError, match=r"is one of|never negative"):
        Fault(**wrong)
