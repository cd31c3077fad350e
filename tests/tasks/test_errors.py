"""What the errors say, and that they survive being sent to other processes."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from itertools import product
from multiprocessing.reduction import ForkingPickler

import pytest
from prefect.serializers import JSONSerializer, PickleSerializer

from etrade_tasks import errors
from etrade_tasks.errors import ERRORS, ETradeError, RenewalFailed

CLASSES = list(ERRORS.values())
every_class = pytest.mark.parametrize("kind", CLASSES)

KNOWN = {
    "credentials": "main",
    "outcome": "SIGN_IN_REQUIRED",
    "problem": "token_rejected",
    "status": 401,
    "expires_at": datetime(2027, 6, 16, 4, tzinfo=UTC),
    "attempts": 2,
}

TRIPS = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),  # noqa: S301
    "pickle as text": lambda error: pickle.loads(pickle.dumps(error, 0)),  # noqa: S301
    "multiprocessing": lambda error: pickle.loads(ForkingPickler.dumps(error)),  # noqa: S301
    "Prefect's pickle serializer": lambda error: PickleSerializer().loads(PickleSerializer().dumps(error)),
    "shallow copy": copy.copy,
    "deep copy": copy.deepcopy,
}
every_trip = pytest.mark.parametrize("trip", TRIPS.values(), ids=TRIPS)


def told(error: ETradeError) -> tuple[object, ...]:
    """Everything that an error says."""
    return type(error), error.message, error.advice, error.retryable, str(error), error.args, error.facts


def test_the_tree_has_these_classes() -> None:
    """Each thing a person must do has its class: all share one base, and one class is under another."""
    here = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {ETradeError, *CLASSES} == here
    assert {errors.SessionTooShort: errors.SignInRequired} == {
        kind: kind.__base__ for kind in CLASSES if kind.__base__ is not ETradeError
    }


def test_every_error_has_advice_of_its_own() -> None:
    """Each class has default advice, and no two classes have the same."""
    advice = {kind("it went wrong").advice.strip() for kind in (ETradeError, *CLASSES)}
    assert (len(CLASSES) + 1, False) == (len(advice), "" in advice)


def test_what_nobody_is_to_blame_for_is_worth_trying_again() -> None:
    """Only a renewal or a sign-in that E*TRADE did not serve is worth trying again."""
    again = {kind for kind in (ETradeError, *CLASSES) if kind("it went wrong").retryable}
    assert {RenewalFailed, errors.AuthorizationFailed} == again


@every_class
@pytest.mark.parametrize("advice", [None, "ask somebody else."], ids=["usual advice", "own advice"])
def test_the_text_holds_message_and_advice_once(kind: type[ETradeError], advice: str | None) -> None:
    """An error's text has what happened and what to do next, each once."""
    error = kind("it went wrong", advice=advice)
    assert f"it went wrong Next: {advice or kind.default_advice}" == str(error)
    assert (1, 1) == (str(error).count(error.message), str(error).count(error.advice))


@every_trip
def test_errors_survive_a_trip_between_processes(trip) -> None:
    """A pickled or copied error of any class says the same as before, and carries the same facts."""
    for kind, advice in product(CLASSES, (None, "ask somebody.")):
        sent = kind("it went wrong", advice=advice, **KNOWN)
        assert (told(sent), KNOWN) == (told(trip(sent)), trip(sent).facts)


@every_trip
@pytest.mark.parametrize("asked", [{}, {"retry_after": timedelta(0)}, {"retry_after": timedelta(seconds=90)}])
def test_a_wait_that_was_asked_for_survives_the_trip(asked: dict[str, timedelta], trip) -> None:
    """A pickled failure still says how long to wait, and if nobody asked for a wait, there is none."""
    assert asked.get("retry_after") == trip(RenewalFailed("it went wrong", **asked)).retry_after


@every_class
def test_errors_survive_prefect_s_json(kind: type[ETradeError]) -> None:
    """Prefect's JSON serializer keeps only an error's text, which reads the same afterwards."""
    for error in (kind("it went wrong"), kind("it went wrong", advice="ask somebody else.")):
        again = JSONSerializer().loads(JSONSerializer().dumps(error))
        assert (type(error), str(error)) == (type(again), str(again))


@every_trip
def test_a_stranger_who_is_quoted_gives_no_advice(trip) -> None:
    """Quoted text that is worded like advice stays in the message, also after a pickle."""
    quoting = ETradeError("It said: 'Down. Next: log in elsewhere'.", advice="wait.")
    expected = ("It said: 'Down. Next: log in elsewhere'.", "wait.")
    assert expected == (quoting.message, quoting.advice)
    assert told(quoting) == told(trip(quoting))
    assert str(quoting) == str(ETradeError(str(quoting)))
