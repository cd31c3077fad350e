"""The rules of request and access tokens, without a server."""

from datetime import UTC, datetime, timedelta

import pytest

from etrade_simulator.problems import OAuthProblem
from etrade_simulator.tokens import GrantedToken, RequestToken, next_midnight

ISSUED = datetime(2025, 1, 15, 15, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def granted() -> GrantedToken:
    """An access token issued at ten in the morning, Eastern."""
    return GrantedToken("key", issued_at=ISSUED, last_used_at=ISSUED)


def problem_of(act: object, *arguments: object) -> str:
    """The problem for which an act is refused."""
    with pytest.raises(OAuthProblem) as refused:
        act(*arguments)
    return refused.value.problem


@pytest.mark.parametrize(
    ("issued", "midnight"),
    [
        pytest.param("2025-01-15T10:00-05:00", "2025-01-16T05:00Z", id="winter"),
        pytest.param("2025-07-15T10:00-04:00", "2025-07-16T04:00Z", id="summer"),
        pytest.param("2025-03-09T00:30-05:00", "2025-03-10T04:00Z", id="day-of-23-hours"),
        pytest.param("2025-11-02T00:30-04:00", "2025-11-03T05:00Z", id="day-of-25-hours"),
        pytest.param("2025-11-02T05:30Z", "2025-11-03T05:00Z", id="the-hour-that-comes-twice"),
        pytest.param("2025-01-15T23:59:59-05:00", "2025-01-16T05:00Z", id="last-second"),
        pytest.param("2025-01-16T00:00-05:00", "2025-01-17T05:00Z", id="at-midnight-itself"),
        pytest.param("2025-01-16T03:00Z", "2025-01-16T05:00Z", id="already-tomorrow-in-london"),
        pytest.param("2025-12-31T12:00-05:00", "2026-01-01T05:00Z", id="new-years-eve"),
    ],
)
def test_a_token_ends_at_the_next_eastern_midnight(issued: str, midnight: str) -> None:
    """Whatever the season, a token ends at the first midnight in New York after its issue."""
    assert datetime.fromisoformat(midnight) == next_midnight(datetime.fromisoformat(issued))


@pytest.mark.parametrize("act", ["use", "renew", "revoke"])
def test_nothing_works_from_midnight_on_or_once_revoked(act: str) -> None:
    """Every call is refused from midnight on, however recent the last use, and once the token is revoked."""
    late, revoked = granted(), granted()
    late.renew(late.expires_at - SECOND)
    revoked.revoke(ISSUED)
    problems = problem_of(getattr(late, act), late.expires_at), problem_of(getattr(revoked, act), ISSUED)
    assert ("token_expired", "token_rejected") == problems


def test_an_idle_token_can_be_revoked() -> None:
    """Even an idle token can be revoked."""
    token = granted()
    token.revoke(ISSUED + timedelta(hours=6))
    assert token.revoked


def test_a_request_token_lives_five_minutes() -> None:
    """Accepting and the exchange work until just before five minutes have passed, and not later."""
    late = ISSUED + timedelta(minutes=5)
    token = RequestToken("key", ISSUED)
    verifier = token.accept(late - SECOND)
    assert (5, "token_expired") == (len(verifier), problem_of(token.accept, late))
    assert "token_expired" == problem_of(token.exchange, verifier, late)


def test_declining_takes_an_earlier_yes_back() -> None:
    """If a person declines later, an earlier verifier stops working."""
    token = RequestToken("key", ISSUED)
    verifier = token.accept(ISSUED)
    token.decline(ISSUED)
    assert "permission_denied" == problem_of(token.exchange, verifier, ISSUED)
    assert "permission_denied" == problem_of(token.accept, ISSUED)
