"""Planted faults of every kind."""

import socket
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
import requests

from etrade_simulator import AccessToken, Fault, Simulator

Call = Callable[..., requests.Response]

RENEW = "/oauth/renew_access_token"


@pytest.fixture
def token(simulator: Simulator) -> AccessToken:
    """A live token."""
    return simulator.sign_in("live")


def test_a_fault_answers_in_the_services_place(simulator: Simulator, renew: Call, token: AccessToken) -> None:
    """The fault's own status, body, content type and headers are sent."""
    simulator.plant(
        Fault(status=503, body="closed", content_type="text/plain", headers={"Retry-After": "7"}), path=RENEW
    )
    answer = renew(token)
    expected = (503, "closed", "text/plain", "7")
    assert expected == (
        answer.status_code,
        answer.text,
        answer.headers["Content-Type"],
        answer.headers["Retry-After"],
    )


def test_a_fault_strikes_once_unless_told_otherwise(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """A fault affects one call, and the next one is answered normally."""
    simulator.plant(Fault(status=500), path=RENEW)
    assert [500, 200] == [renew(token).status_code for _ in range(2)]


def test_faults_strike_in_the_order_planted(simulator: Simulator, renew: Call, token: AccessToken) -> None:
    """Faults are used in the order planted, each as many times as asked for."""
    simulator.plant(Fault(status=500), path=RENEW, times=2)
    simulator.plant(Fault(status=429), path=RENEW)
    assert [500, 500, 429, 200] == [renew(token).status_code for _ in range(4)]


def test_a_fault_spares_other_paths(simulator: Simulator, list_accounts: Call, token: AccessToken) -> None:
    """A fault of the renewal does not affect a data call."""
    simulator.plant(Fault(status=500), path="renew_access_token")
    assert 200 == list_accounts(token).status_code


def test_a_fault_without_a_path_strikes_the_next_call(
    simulator: Simulator, list_accounts: Call, token: AccessToken
) -> None:
    """Without a path the fault affects the next signed call, whatever it is."""
    simulator.plant(Fault(status=500))
    assert 500 == list_accounts(token).status_code


def test_cleared_faults_strike_no_more(simulator: Simulator, renew: Call, token: AccessToken) -> None:
    """Clearing removes the faults that were not used yet."""
    simulator.plant(Fault(status=500), path=RENEW, times=5)
    simulator.clear_faults()
    assert 200 == renew(token).status_code


def idle(simulator: Simulator) -> AccessToken:
    """A token that data calls refuse until it is renewed."""
    return simulator.sign_in("live", last_used_at=simulator.now() - timedelta(hours=3))


@pytest.mark.parametrize(("when", "status"), [("before", 401), ("verified", 401), ("after", 200)])
def test_a_fault_says_whether_the_call_has_its_effect(
    simulator: Simulator, renew: Call, list_accounts: Call, when: str, status: int
) -> None:
    """Only a fault ``after`` lets a renewal revive an idle token, although each replaces its answer."""
    token = idle(simulator)
    simulator.plant(Fault(status=502, when=when), path=RENEW)
    assert [502, status] == [renew(token).status_code, list_accounts(token).status_code]


@pytest.mark.parametrize(("when", "status"), [("before", 200), ("verified", 401), ("after", 401)])
def test_a_fault_says_whether_the_nonce_is_used(
    simulator: Simulator, renew: Call, token: AccessToken, when: str, status: int
) -> None:
    """A call that fails before any check may be sent again unchanged; one that fails later is a replay."""
    simulator.plant(Fault(status=502, when=when), path=RENEW)
    renew(token, nonce="n" * 32)
    assert status == renew(token, nonce="n" * 32).status_code


def test_a_fault_for_verified_calls_waits_for_one(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """A refused call gets its refusal, and the fault waits for the next call that is verified."""
    simulator.plant(Fault(status=502, when="verified"), path=RENEW)
    assert [401, 502] == [renew(token, timestamp="1").status_code, renew(token).status_code]


@pytest.mark.parametrize("when", ["before", "verified", "after"])
def test_a_delayed_answer_comes_too_late_for_a_short_patience(
    simulator: Simulator, renew: Call, token: AccessToken, when: str
) -> None:
    """A client with a timeout of a twentieth of a second gives up on an answer that is delayed by an hour."""
    simulator.plant(Fault(delay=3600, when=when), path=RENEW)
    with pytest.raises(requests.ReadTimeout):
        renew(token, timeout=0.05)


def test_a_short_delay_still_brings_the_calls_own_answer(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """A fault without a status delays the answer and does not change it."""
    simulator.plant(Fault(delay=0.01), path=RENEW)
    assert "Access Token has been renewed" == renew(token).text.strip()


def test_a_connection_can_be_dropped_before_any_byte(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """The client sees the connection end without an answer, and the list shows the call without a status."""
    simulator.plant(Fault(drop="before-answer"), path=RENEW)
    with pytest.raises(requests.ConnectionError, match="without response"):
        renew(token)
    assert [None] == [call.status for call in simulator.calls()]


@pytest.mark.parametrize(("when", "status"), [("before", 401), ("after", 200)])
def test_a_drop_says_whether_the_call_has_its_effect(
    simulator: Simulator, renew: Call, list_accounts: Call, when: str, status: int
) -> None:
    """A dropped renewal revives the token only if the connection is dropped after the effect."""
    token = idle(simulator)
    simulator.plant(Fault(drop="before-answer", when=when), path=RENEW)
    with pytest.raises(requests.ConnectionError):
        renew(token)
    assert status == list_accounts(token).status_code


def test_a_connection_can_be_dropped_in_the_middle_of_the_body(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """Half of the promised bytes arrive, then the connection ends."""
    simulator.plant(Fault(status=200, body="x" * 100, drop="mid-body"), path=RENEW)
    received = raw_exchange(simulator, RENEW)
    assert "content-length: 100" in received
    assert 50 == len(received.partition("\r\n\r\n")[2])


def test_a_client_that_counts_notices_a_body_cut_short(simulator: Simulator) -> None:
    """A client that checks the announced length raises an error on half a body."""
    simulator.plant(Fault(status=200, body="x" * 100, drop="mid-body"), path=RENEW)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        httpx.get(simulator.url + RENEW)


def test_a_dripping_body_outlasts_a_short_patience(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """The status arrives, the body does not within a twentieth of a second."""
    simulator.plant(Fault(drip=3600), path=RENEW)
    with pytest.raises(requests.ConnectionError, match="timed out"):
        renew(token, timeout=0.05)


def test_a_dripped_body_is_whole_in_the_end(simulator: Simulator, renew: Call, token: AccessToken) -> None:
    """A body that arrives byte by byte is complete."""
    simulator.plant(Fault(status=200, body="drip drop", drip=0.001), path=RENEW)
    assert "drip drop" == renew(token).text


def test_an_oversize_body_is_padded_and_does_not_say_its_length(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """The body has the size asked for, and no Content-Length."""
    simulator.plant(Fault(size=3_000_000), path=RENEW)
    answer = renew(token)
    assert (3_000_000, None) == (len(answer.content), answer.headers.get("Content-Length"))
    assert "Access Token has been renewed" == answer.text.strip()


@pytest.mark.parametrize(
    "wrong", [{"when": "later"}, {"drop": "never"}, {"delay": -1.0}, {"drip": -1.0}, {"size": -1}]
)
def test_a_fault_that_cannot_be_is_an_error(wrong: dict[str, object]) -> None:
    """Unknown words and negative amounts are refused when the fault is made."""
    with pytest.raises(ValueError, match=r"is one of|never negative"):
        Fault(**wrong)


def test_a_fault_strikes_at_least_once(simulator: Simulator) -> None:
    """A fault for zero calls is an error."""
    with pytest.raises(ValueError, match="at least once"):
        simulator.plant(Fault(status=500), times=0)


def test_the_list_of_calls_tells_the_struck_ones(
    simulator: Simulator, renew: Call, token: AccessToken
) -> None:
    """The list marks the calls that a fault changed, with the status that was sent."""
    simulator.plant(Fault(status=503), path=RENEW)
    renew(token)
    renew(token)
    assert [(503, True), (200, False)] == [(call.status, call.faulted) for call in simulator.calls()]


def raw_exchange(simulator: Simulator, path: str) -> str:
    """Send an unsigned request; return all that comes back before the connection ends."""
    address = urlsplit(simulator.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()
