"""The control routes, which are off unless asked for."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
import requests

from etrade_simulator import AccessToken, Simulator, SimulatorClock
from etrade_simulator.control import control_routes

Call = Callable[..., requests.Response]


@pytest.fixture
def simulator(clock: SimulatorClock) -> Iterator[Simulator]:
    """A simulator with its control routes on."""
    with Simulator(clock=clock, control=control_routes) as simulator:
        yield simulator


@pytest.fixture
def control(simulator: Simulator) -> Call:
    """Call a control route."""

    def call(method: str, route: str, body: object = None, **query: str) -> requests.Response:
        url = f"{simulator.url}/_control/{route}"
        with requests.request(method, url, json=body, params=query, timeout=5) as answer:
            return answer

    return call


def test_control_is_off_by_default(clock: SimulatorClock) -> None:
    """A plain simulator has no control routes."""
    with Simulator(clock=clock) as simulator:
        for method, path in (("GET", "clock"), ("POST", "faults"), ("GET", "calls"), ("POST", "sign-in")):
            with requests.request(method, f"{simulator.url}/_control/{path}", timeout=5) as answer:
                assert 404 == answer.status_code


def test_the_clock_can_be_read_and_moved(simulator: Simulator, control: Call) -> None:
    """The clock can be advanced by seconds or set to a time, and each answer gives the new time."""
    expected = simulator.now() + timedelta(hours=2)
    told = control("POST", "clock", {"advance": 7200}).json()["now"]
    assert [expected] * 3 == [
        datetime.fromisoformat(told),
        simulator.now(),
        datetime.fromisoformat(control("GET", "clock").json()["now"]),
    ]
    control("POST", "clock", {"set": "2025-07-01T12:00:00-04:00"})
    assert datetime.fromisoformat("2025-07-01T16:00:00+00:00") == simulator.now()


def test_a_fault_can_be_planted_and_taken_out(simulator: Simulator, control: Call, renew: Call) -> None:
    """A planted fault changes the next calls until the faults are cleared."""
    token = simulator.sign_in("live")
    control("POST", "faults", {"path": "renew_access_token", "times": 9, "status": 503})
    struck = renew(token).status_code
    control("DELETE", "faults")
    assert [503, 200] == [struck, renew(token).status_code]


def test_the_calls_can_be_read(simulator: Simulator, control: Call, renew: Call) -> None:
    """The list shows the outcome of each signed call, or of those to a path, and nothing more."""
    renew(simulator.sign_in("live"), timestamp="1")
    expected = {
        "method": "GET",
        "path": "/oauth/renew_access_token",
        "status": 401,
        "at": "2025-01-15T15:00:00+00:00",
        "problem": "timestamp_refused",
        "faulted": False,
    }
    assert [] == control("GET", "calls", path="/v1/accounts/list").json()
    assert [expected] == control("GET", "calls").json()


@pytest.mark.parametrize(
    ("wanted", "status"), [({"environment": "sandbox"}, 200), ({"issued_at": "2025-01-14T12:00:00Z"}, 401)]
)
def test_a_sign_in_needs_no_person(control: Call, renew: Call, wanted: dict[str, str], status: int) -> None:
    """The token from the control route can be renewed, unless it was to be of the day before."""
    fields = control("POST", "sign-in", wanted).json()
    assert fields["token"] == fields.pop("credentials")["access_token"]
    assert status == renew(AccessToken(**fields)).status_code


def test_the_problem_form_can_be_set(simulator: Simulator, control: Call, renew: Call) -> None:
    """Once a form is set, refusals use it."""
    control("POST", "form", {"problem_form": "json"})
    assert "message" in renew(simulator.sign_in("live"), timestamp="1").json()["Error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {}),
        ("clock", {"set": "soon"}),
        ("clock", {"set": "2025-01-14T12:00:00"}),
        ("clock", {"advance": "much"}),
        ("clock", [7200]),
        ("faults", {"stauts": 503}),
        ("faults", {"status": 503, "times": 0}),
        ("faults", {"drop": "never"}),
        ("sign-in", {"environment": "production"}),
        ("form", {"problem_form": "pdf"}),
    ],
)
def test_what_cannot_be_understood_is_a_bad_request(control: Call, path: str, body: object) -> None:
    """A mistake gets status 400 and an explanation, never an error of the server."""
    answer = control("POST", path, body)
    assert 400 == answer.status_code
    assert answer.json()["error"]
