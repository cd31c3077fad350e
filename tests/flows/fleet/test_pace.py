"""When each token of a fleet may start."""

from __future__ import annotations

from etrade_flows.fleet.members import Member
from etrade_flows.fleet.pace import Pace


def starts(members: list[Member], per_second: float) -> dict[str, float]:
    """When each member starts, if each starts as soon as it may."""
    pace, at, started = Pace(members, per_second), 0.0, {}
    while (due_in := pace.due_in(at)) is not None:
        at += due_in
        member = pace.take(at)
        assert member is not None
        started[member.name] = at
    return started


def test_one_consumer_key_is_spaced() -> None:
    """Tokens of one consumer key start at the given rate, the first at once."""
    fleet = [Member(name, 0) for name in "abcd"]
    assert {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.5} == starts(fleet, 2)


def test_consumer_keys_do_not_wait_for_each_other() -> None:
    """A token of another consumer key starts although an earlier one in the list must wait."""
    fleet = [Member("a", 0), Member("b", 0), Member("c", 1)]
    assert {"a": 0.0, "b": 0.5, "c": 0.0} == starts(fleet, 2)


def test_a_late_start_is_not_made_up_for() -> None:
    """After a late start, the next token of the same key waits as long as ever: no burst follows."""
    pace = Pace([Member(name, 0) for name in "abc"], 2)
    assert ("a", None) == (pace.take(10.0).name, pace.take(10.0))
    assert ("b", None) == (pace.take(15.0).name, pace.take(15.1))


def test_nobody_is_left_in_the_end() -> None:
    """Once all have started, no token is due."""
    pace = Pace([Member("a", 0)], 2)
    pace.take(0.0)
    assert (None, None) == (pace.take(9.0), pace.due_in(9.0))
