"""E*TRADE's sign-in and sign-out calls: OAuth 1.0a with a person in the middle (RFC 5849, section 2).

First `request_token`; then a person accepts at `authorize_url` and gets a verifier; then `access_token`.
`revoke` ends the session. Source: E*TRADE's "Get Request Token", "Authorize Application", "Get Access Token"
and "Revoke Access Token" pages.

`call` makes and judges the calls; this module has only what differs between them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from etrade_tasks.clock import now
from etrade_tasks.errors import AuthorizationFailed, ETradeError, SignInRequired, VerifierRefused
from etrade_tasks.oauth.call import OAuthCall, perform, signed
from etrade_tasks.oauth.http import fetch
from etrade_tasks.oauth.replies import Outcome, RenewalReply, Verdict
from etrade_tasks.oauth.signature import SigningKeys

REQUEST_TOKEN_LIFETIME = timedelta(minutes=5)
"""How long a person has from the request token to the exchange of the verifier."""

_CALLBACK_VERIFIER = re.compile(r"(?:^|[?&#])oauth_verifier=([^&#\s]*)")
_SHOWN = re.compile("[A-Za-z0-9]{5}")
"""What a verifier looks like: five letters and digits."""

AUTHORIZE_PATH = "/e/t/etws/authorize"
_ETRADE_PAGES = "https://us.etrade.com"
_ETRADE_HOSTS = frozenset({"api.etrade.com", "apisb.etrade.com"})

_REVOCATION = "to revoke the access token"

_UNSPECIFIC = (
    "E*TRADE does not accept the verifier: it is mistyped, already used or late, or nobody accepted."
)
_LATE = "The verifier came too late: E*TRADE drops a sign-in five minutes after it began."
_VERIFIER_PROBLEMS = {
    "verifier_invalid": "The verifier is not the one that E*TRADE showed for this sign-in.",
    "token_expired": _LATE,
    "token_used": "The verifier was already used; it works only once.",
    "permission_denied": "The sign-in was declined on E*TRADE's page.",
    "permission_unknown": "Nobody has accepted on E*TRADE's page yet.",
    "token_rejected": _UNSPECIFIC,
    "token_revoked": _UNSPECIFIC,
}


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A request token or an access token. Hidden from `repr`.

    A request token is a sign-in that has begun and waits for a person: it is good for five minutes and one
    exchange. An access token lasts until midnight US Eastern.

    Attributes:
        token: The token, decoded. A request token is part of the address that a person opens.
        secret: Its secret, decoded.
        issued_at: When it was received, by E*TRADE's clock: a slow machine clock would date a sign-in just
            after midnight to the day before.
        clock_offset: What to add to this machine's clock to get E*TRADE's.
    """

    token: str = field(repr=False)
    secret: str = field(repr=False)
    issued_at: datetime
    clock_offset: timedelta = timedelta(0)


def request_token(consumer: SigningKeys, oauth_url: str) -> IssuedToken:
    """A new sign-in for a person to accept within five minutes.

    Args:
        consumer: The application's key pair.
        oauth_url: Where OAuth calls go, without a trailing slash.

    Raises:
        ConfigurationRefused: The consumer key, its secret or the address is wrong.
        AuthorizationFailed: E*TRADE or the network kept failing.
    """
    pair, at, offset = perform(_request_token_call(consumer, oauth_url), timedelta(0))
    return IssuedToken(*pair, at, offset)


def try_request_token(consumer: SigningKeys, oauth_url: str, limit: timedelta) -> RenewalReply:
    """E*TRADE's answer to one request-token call, or the network's failure. Never raises for either.

    It shows whether E*TRADE accepts the consumer key, and changes nothing: it drops the new token, and uses
    no access token.

    Args:
        consumer: The application's key pair.
        oauth_url: Where OAuth calls go, without a trailing slash.
        limit: The longest that the call may take.
    """
    return fetch(signed(_request_token_call(consumer, oauth_url), timedelta(0)), limit)


def granted(reply: RenewalReply) -> bool:
    """Whether the answer to a request-token or access-token call contains a token and its secret."""
    return reply.status_code == HTTPStatus.OK and _token_pair(reply.body) is not None


def authorize_url(consumer: SigningKeys, token: IssuedToken, oauth_url: str) -> str:
    """The address that a person opens to log in, accept and get the verifier.

    A server that replaces E*TRADE's OAuth host must serve this page too.
    """
    parts = urlsplit(oauth_url)
    pages = _ETRADE_PAGES if parts.hostname in _ETRADE_HOSTS else f"{parts.scheme}://{parts.netloc}"
    query = urlencode({"key": consumer.consumer_key, "token": token.token}, quote_via=quote, safe="")
    return f"{pages}{AUTHORIZE_PATH}?{query}"


def verifier_in(entered: str) -> str:
    """The verifier in what a person typed or pasted; empty if there is none. Pure.

    If a person pastes a callback address (`...?oauth_token=...&oauth_verifier=AB12C`), its verifier is used
    (RFC 5849, section 2.2). Five letters and digits are changed to upper case, as E*TRADE always shows them:
    a refusal may end the sign-in, so there may be no second try.

    Args:
        entered: What the person entered; blanks around it do not matter.
    """
    found = entered.strip()
    if named := _CALLBACK_VERIFIER.search(found):
        found = unquote(named[1])
    elif "://" in found:  # E*TRADE's page itself, most likely
        return ""
    return found.upper() if _SHOWN.fullmatch(found) else found


def access_token(consumer: SigningKeys, token: IssuedToken, verifier: str, oauth_url: str) -> IssuedToken:
    """Exchange the verifier for the access token.

    Args:
        consumer: The application's key pair.
        token: The sign-in that the person accepted.
        verifier: What the person entered, as `verifier_in` reads it.
        oauth_url: Where OAuth calls go, without a trailing slash.

    Raises:
        VerifierRefused: The verifier is wrong, late or already used, or nobody accepted.
        ConfigurationRefused: The consumer key, its secret or the address is wrong.
        AuthorizationFailed: E*TRADE or the network kept failing.
    """
    verifier = verifier_in(verifier)
    if not verifier:
        raise VerifierRefused("No verifier was given.")

    def refusal(verdict: Verdict) -> ETradeError | None:
        said = _VERIFIER_PROBLEMS.get(verdict.problem or "")
        if said is None and verdict.outcome is Outcome.SIGN_IN_REQUIRED:
            said = _UNSPECIFIC
        if said is None:
            return None
        late = now() + token.clock_offset >= token.issued_at + REQUEST_TOKEN_LIFETIME
        return VerifierRefused(_LATE if late else said)

    call = OAuthCall(
        purpose="to complete the sign-in",
        url=f"{oauth_url}/access_token",
        keys=replace(consumer, token=token.token, token_secret=token.secret),
        read=_token_pair,
        refusal=refusal,
        verifier=verifier,
    )
    pair, at, offset = perform(call, token.clock_offset)
    return IssuedToken(*pair, at, offset)


def revoke(keys: SigningKeys, oauth_url: str) -> None:
    """End the access token at E*TRADE, for everybody who holds it.

    Args:
        keys: Whose token to end.
        oauth_url: Where OAuth calls go, without a trailing slash.

    Raises:
        SignInRequired: E*TRADE says that the token was already dead.
        ConfigurationRefused: A key, a secret or the address is wrong.
        AuthorizationFailed: E*TRADE or the network kept failing; the token may still be valid.
    """

    def refusal(verdict: Verdict) -> ETradeError | None:
        if verdict.outcome is not Outcome.SIGN_IN_REQUIRED:
            return None
        if verdict.problem is None:  # a bare 401 does not prove that the token is dead
            return AuthorizationFailed(f"E*TRADE refused {_REVOCATION} and gave no reason.")
        return SignInRequired(f"The access token was already dead before it was revoked ({verdict.problem}).")

    call = OAuthCall(
        purpose=_REVOCATION,
        url=f"{oauth_url}/revoke_access_token",
        keys=keys,
        read=_revocation,
        refusal=refusal,
    )
    perform(call, timedelta(0))


def _request_token_call(consumer: SigningKeys, oauth_url: str) -> OAuthCall[tuple[str, str]]:
    # It has no refusal of its own: it uses no token, so a 401 is about the consumer key.
    return OAuthCall(
        purpose="to begin a sign-in",
        url=f"{oauth_url}/request_token",
        keys=consumer,
        read=_token_pair,
        callback="oob",
    )


def _token_pair(body: str) -> tuple[str, str] | None:
    """Token and secret of a form body, decoded once; None if either is missing (RFC 5849, section 2.1)."""
    # A plus in a form means a blank, which no token contains: it must be a plus that was not encoded.
    pairs = dict(parse_qsl(body.strip().replace("+", "%2B")))
    token, secret = pairs.get("oauth_token"), pairs.get("oauth_token_secret")
    return (token, secret) if token and secret else None


def _revocation(body: str) -> bool | None:
    """True if the token is revoked: the body has E*TRADE's sentence, or the token pair of its older pages."""
    return "revoked access token" in " ".join(body.lower().split()) or _token_pair(body) is not None or None
