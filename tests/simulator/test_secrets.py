"""No key, token, secret or signature is shown where nobody asked for it."""

import logging
from collections.abc import Callable

import pytest
import requests

from etrade_simulator import AccessToken, Fault, Simulator

Call = Callable[..., requests.Response]


def secrets_of(token: AccessToken) -> list[str]:
    """All secrets of a token."""
    return [token.consumer_key, token.consumer_secret, token.token, token.token_secret]


def test_what_is_printed_holds_no_secret(simulator: Simulator) -> None:
    """An access token shows only its environment and time of issue, and a consumer hides its secret."""
    token, consumer = simulator.sign_in("live"), simulator.consumer("live")
    assert f"AccessToken(environment='live', issued_at={token.issued_at!r})" == repr(token)
    assert consumer.secret not in repr(consumer)


def test_the_list_of_calls_holds_no_secret(simulator: Simulator, sign: Call) -> None:
    """The list holds no secret, even if a client puts its credentials into the query."""
    token = simulator.sign_in("live")
    sign(token, simulator.oauth_url + "/renew_access_token", signature_type="QUERY")
    shown = repr(simulator.calls())
    assert [] == [secret for secret in secrets_of(token) if secret in shown]
    assert "oauth_signature" not in shown


def test_the_log_holds_no_secret(simulator: Simulator, sign: Call, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG the log holds no secret of a good call, a wrong signature, a dropped call or a page visit."""
    token = simulator.sign_in("live")
    url = simulator.oauth_url + "/renew_access_token"
    caplog.set_level(logging.DEBUG)
    # The client's own log lines are not the simulator's; both sides use oauthlib's `signature` logger.
    for client in ("requests_oauthlib", "urllib3", "oauthlib.oauth1.rfc5849"):
        caplog.set_level(logging.CRITICAL, logger=client)
    caplog.set_level(logging.DEBUG, logger="oauthlib.oauth1.rfc5849.signature")
    sign(token, url)
    sign(token, url, signature_type="QUERY", nonce="same")
    sign(token, url, signature_type="QUERY", nonce="same")
    sign(AccessToken(**{**vars(token), "token_secret": "wrong"}), url)
    simulator.plant(Fault(drop="before-answer"))
    with pytest.raises(requests.ConnectionError):
        sign(token, url)
    requests.get(simulator.authorize_url(token.consumer_key, token.token), timeout=5).close()
    assert [] == [secret for secret in secrets_of(token) if secret in caplog.text]
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]
