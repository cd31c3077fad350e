"""The life of an access token over HTTP: renewal, idleness, midnight, revocation."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import requests

from etrade_simulator import Simulator

Call = Callable[..., requests.Response]

# The midnight that ends the simulator's day in these tests.
MIDNIGHT = datetime(2025, 1, 16, 5, 0, tzinfo=UTC)


def test_a_renewal_answers_with_the_sentence_in_white_space(simulator: Simulator, renew: Call) -> None:
    """The body is E*TRADE's sentence, padded on both sides."""
    answer = renew(simulator.sign_in("live"))
    assert (200, "Access Token has been renewed") == (answer.status_code, answer.text.strip())
    assert answer.text.strip() != answer.text


def test_an_idle_token_is_refused_to_data_until_renewed(
    simulator: Simulator, renew: Call, list_accounts: Call
) -> None:
    """After two idle hours a data call gets 401, and after a renewal 200 again."""
    token = simulator.sign_in("live")
    simulator.advance(timedelta(hours=2))
    statuses = [list_accounts(token).status_code, renew(token).status_code, list_accounts(token).status_code]
    assert [401, 200, 200] == statuses


def test_data_calls_keep_a_token_alive(simulator: Simulator, list_accounts: Call) -> None:
    """A data call every hour and a half keeps the token active without a renewal; a refused one does not."""
    token, statuses = simulator.sign_in("live"), []
    for signer in (token, token, token, replace(token, token_secret="wrong"), token):
        simulator.advance(timedelta(minutes=90))
        statuses.append(list_accounts(signer).status_code)
    assert [200, 200, 200, 401, 401] == statuses


def test_a_revoked_token_is_over(simulator: Simulator, sign: Call, renew: Call) -> None:
    """The answer says that the token is revoked, and every later call is refused."""
    token = simulator.sign_in("live")
    answer = sign(token, simulator.oauth_url + "/revoke_access_token")
    assert (200, "Revoked Access Token") == (answer.status_code, answer.text)
    assert 401 == renew(token).status_code


def test_another_consumers_token_is_rejected(simulator: Simulator, renew: Call) -> None:
    """A token works with its own consumer key only."""
    token, other = simulator.sign_in("live"), simulator.add_consumer("live")
    borrowed = replace(token, consumer_key=other.key, consumer_secret=other.secret)
    assert "oauth_problem=token_rejected" in renew(borrowed).text


def test_every_answer_is_dated_by_the_simulators_clock(simulator: Simulator, renew: Call) -> None:
    """The Date header gives the simulator's time, from which a client may learn its own clock's error."""
    assert "Wed, 15 Jan 2025 15:00:00 GMT" == renew(simulator.sign_in("live")).headers["Date"]


def test_what_a_token_is_can_be_told_without_a_call(simulator: Simulator) -> None:
    """The state of a token can be read without a call, and reading it keeps no token active."""
    token, revoked = simulator.sign_in("live"), simulator.sign_in("sandbox")
    simulator.revoke(revoked)
    simulator.advance(timedelta(hours=1, minutes=59))
    told = [simulator.token_state(token), simulator.token_state(revoked.token)]
    simulator.advance(timedelta(minutes=1))
    told.append(simulator.token_state(token))
    simulator.set_time(MIDNIGHT)
    told.append(simulator.token_state(token))
    assert ["active", "revoked", "idle", "expired"] == told
    assert [] == simulator.calls()
