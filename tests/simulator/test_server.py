"""The server: where it listens, how it starts and stops, and many calls at once."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from etrade_simulator import Fault, Simulator

Call = Callable[..., requests.Response]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "8.8.8.8"])  # noqa: S104  # to be refused
def test_only_loopback_addresses_are_taken(host: str) -> None:
    """An address that other machines could reach is refused."""
    with pytest.raises(ValueError, match="loopback"):
        Simulator(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_addresses_answer(host: str) -> None:
    """A simulator at a loopback address has that address in its URL."""
    with Simulator(host=host) as simulator:
        assert host == urlsplit(simulator.url).hostname
        with requests.get(simulator.url + "/nothing", timeout=5) as answer:
            assert 404 == answer.status_code


def test_a_port_is_taken_until_the_end() -> None:
    """A second simulator cannot have the port of one that runs, but that of one that has just stopped."""
    with Simulator() as first, pytest.raises(OSError, match="in use"):
        Simulator(port=urlsplit(first.url).port)
    with Simulator(port=urlsplit(first.url).port) as second:
        assert first.url == second.url


def test_the_serving_thread_never_keeps_a_program_alive() -> None:
    """The thread is a daemon, so a program that forgets to stop it still ends; after the end it is gone."""
    before = set(threading.enumerate())
    with Simulator():
        begun = set(threading.enumerate()) - before
        assert [True] == [thread.daemon for thread in begun if thread.name == "etrade-simulator"]
    assert before == set(threading.enumerate())


def test_stopping_does_not_wait_for_a_call_under_way() -> None:
    """Stopping the simulator cuts off an answer that sends a byte an hour."""
    with Simulator() as simulator:
        simulator.plant(Fault(status=200, body="slow", drip=3600))
        address = urlsplit(simulator.url)
        connection = socket.create_connection((address.hostname, address.port), timeout=5)
        connection.sendall(b"GET /oauth/renew_access_token HTTP/1.1\r\nHost: here\r\n\r\n")
        head = connection.recv(4096)
    with connection:
        assert (b"HTTP/1.1 200 OK", b"") == (head.splitlines()[0], connection.recv(1))


def test_many_calls_at_once_are_all_counted(simulator: Simulator, renew: Call) -> None:
    """Forty renewals from eight threads are all answered and listed."""
    token = simulator.sign_in("live")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: renew(token), range(40)))
    assert [200] * 40 == [answer.status_code for answer in answers]
    assert 40 == len(simulator.calls("/oauth/renew_access_token"))


def test_one_of_many_equal_calls_gets_through(simulator: Simulator, renew: Call) -> None:
    """Of sixteen copies of one signed call, racing, one is accepted and fifteen are replays."""
    token = simulator.sign_in("live")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: renew(token, nonce="n" * 32), range(16)))
    texts = sorted(answer.text.strip() for answer in answers)
    assert ["Access Token has been renewed"] + ["oauth_problem=nonce_used"] * 15 == texts


def test_the_list_of_calls_is_a_copy(simulator: Simulator, renew: Call) -> None:
    """Changing the returned list does not change the simulator's."""
    renew(simulator.sign_in("live"))
    simulator.calls().clear()
    assert 1 == len(simulator.calls())
