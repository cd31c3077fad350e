"""The task `sign-request`, and what every signed call has in common."""

from dataclasses import dataclass, field
from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.oauth.signature import SigningKeys, authorization_header

RENEW_PATH = "/renew_access_token"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One call, signed and good for a single use within five minutes.

    Attributes:
        url: The address to GET.
        authorization: The value of the `Authorization` header.
        secrets: What must be removed from an answer that echoes it.
    """

    url: str
    authorization: SecretStr
    secrets: tuple[SecretStr, ...] = field(repr=False)


# Cached or retried on its own it would send the same nonce twice, which E*TRADE refuses as a replay.
@task(name="sign-request", retries=0, cache_policy=NO_CACHE, persist_result=False)
def sign_request(
    credentials: ETradeCredentials, clock_offset: timedelta = timedelta(0), nonce: str | None = None
) -> SignedRequest:
    """A renewal call signed with a fresh nonce and timestamp.

    Args:
        credentials: Whose token to renew.
        clock_offset: What to add to this machine's time to get E*TRADE's.
        nonce: Never used before; made if not given.

    Source: E*TRADE's "Renew Access Token" page.
    """
    url = credentials.oauth_base_url + RENEW_PATH
    return signed_get(url, credentials.signing_keys, clock_offset, nonce=nonce)


def signed_get(
    url: str,
    keys: SigningKeys,
    clock_offset: timedelta,
    *,
    nonce: str | None = None,
    callback: str | None = None,
    verifier: str | None = None,
) -> SignedRequest:
    """A GET of this address, signed with a fresh nonce and timestamp, and what to remove from its answer.

    Args:
        url: The address.
        keys: Who signs.
        clock_offset: What to add to this machine's time to get E*TRADE's.
        nonce: Never used before; made if not given.
        callback: Where E*TRADE sends the person, for a request token (RFC 5849, section 2.1).
        verifier: What the person was shown, for an access token (section 2.3).
    """
    header = authorization_header(
        "GET",
        url,
        keys,
        nonce=nonce,
        timestamp=int((now() + clock_offset).timestamp()),
        callback=callback,
        verifier=verifier,
    )
    known = (keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret)
    return SignedRequest(
        url=url,
        authorization=SecretStr(header),
        secrets=tuple(SecretStr(secret) for secret in known if secret),
    )
