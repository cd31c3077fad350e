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


def test_a_token_is_active_until_two_hours_after_its_last_use() -> None:
    """A token is active one second before two hours, and no longer at two hours."""
    idle = ISSUED + timedelta(hours=2)
    assert (True, False) == (granted().active(idle - SECOND), granted().active(idle))


def test_a_data_call_keeps_the_token_active() -> None:
    """Each data call restarts the two hours."""
    token = granted()
    token.use(ISSUED + timedelta(hours=1))
    assert token.active(ISSUED + timedelta(hours=3) - SECOND)


def test_an_inactive_token_is_refused_to_a_data_call() -> None:
    """A data call does not revive a token that was idle for two hours."""
    token = granted()
    late = ISSUED + timedelta(hours=2)
    assert ("token_expired", False) == (problem_of(token.use, late), token.active(late))


def test_a_renewal_revives_an_inactive_token() -> None:
    """After a renewal an idle token works for data calls again."""
    token = granted()
    late = ISSUED + timedelta(hours=5)
    token.renew(late)
    token.use(late + timedelta(hours=1))
    assert token.active(late + timedelta(hours=2))


def test_a_renewal_never_moves_midnight() -> None:
    """A renewal does not change when a token ends."""
    token = granted()
    before = token.expires_at
    token.renew(before - SECOND)
    assert before == token.expires_at


@pytest.mark.parametrize("act", ["use", "renew", "revoke"])
def test_nothing_works_from_midnight_on(act: str) -> None:
    """From midnight on every call is refused, however recent the last use."""
    token = granted()
    token.renew(token.expires_at - SECOND)
    assert "token_expired" == problem_of(getattr(token, act), token.expires_at)


@pytest.mark.parametrize("act", ["use", "renew", "revoke"])
def test_nothing_works_once_revoked(act: str) -> None:
    """A revoked token is refused at once."""
    token = granted()
    token.revoke(ISSUED)
    assert "token_rejected" == problem_of(getattr(token, act), ISSUED)


def test_an_idle_token_can_be_revoked() -> None:
    """Even an idle token can be revoked."""
    token = granted()
    token.revoke(ISSUED + timedelta(hours=6))
    assert token.revoked


def test_a_request_token_lives_five_minutes() -> None:
    """A person may accept until just before five minutes have passed, and not later."""
    late = ISSUED + timedelta(minutes=5)
    in_time = RequestToken("key", ISSUED).accept(late - SECOND)
    assert (5, "token_expired") == (len(in_time), problem_of(RequestToken("key", ISSUED).accept, late))


def test_an_accepted_token_expires_all_the_same() -> None:
    """A verifier that comes after five minutes is refused, even though the token was accepted."""
    token = RequestToken("key", ISSUED)
    verifier = token.accept(ISSUED)
    assert "token_expired" == problem_of(token.exchange, verifier, ISSUED + timedelta(minutes=5))


def test_accepting_twice_shows_the_same_verifier() -> None:
    """A page that is loaded again shows the same verifier."""
    token = RequestToken("key", ISSUED)
    assert token.accept(ISSUED) == token.accept(ISSUED)


def test_a_verifier_is_capitals_and_digits() -> None:
    """Every verifier consists of capital letters and digits."""
    verifiers = "".join(RequestToken("key", ISSUED).accept(ISSUED) for _ in range(200))
    assert (1000, True, True) == (len(verifiers), verifiers.isalnum(), verifiers == verifiers.upper())


def test_a_verifier_works_once() -> None:
    """A second exchange with the same verifier is refused."""
    token = RequestToken("key", ISSUED)
    verifier = token.accept(ISSUED)
    token.exchange(verifier, ISSUED)
    assert "token_used" == problem_of(token.exchange, verifier, ISSUED)


def test_a_wrong_verifier_does_not_spoil_the_right_one() -> None:
    """After a mistyped verifier the right one still works."""
    token = RequestToken("key", ISSUED)
    verifier = token.accept(ISSUED)
    assert "verifier_invalid" == problem_of(token.exchange, "wrong", ISSUED)
    assert "key" == token.exchange(verifier, ISSUED).consumer_key


def test_no_verifier_works_before_anybody_accepts() -> None:
    """Without consent the exchange is refused, for that reason."""
    assert "permission_unknown" == problem_of(RequestToken("key", ISSUED).exchange, "ABC12", ISSUED)


def test_declining_takes_an_earlier_yes_back() -> None:
    """If a person declines later, an earlier verifier stops working."""
    token = RequestToken("key", ISSUED)
    verifier = token.accept(ISSUED)
    token.decline(ISSUED)
    assert "permission_denied" == problem_of(token.exchange, verifier, ISSUED)
    assert "permission_denied" == problem_of(token.accept, ISSUED)
