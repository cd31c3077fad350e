"""The task `sign-request`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.signing import authorization_header

RENEW_PATH = "/renew_access_token"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One renewal call, signed and good for a single use within five minutes.

    Attributes:
        url: The address to GET.
        authorization: The value of the `Authorization` header.
        secrets: What must be removed from an answer that echoes it.
    """

    url: str
    authorization: SecretStr
    secrets: tuple[SecretStr, ...] = field(repr=False)


# Cached or retried on its own it would send the same nonce twice, which E*TRADE refuses as a replay.
@task(name="sign-request", cache_policy=NO_CACHE, persist_result=False)
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
    keys = credentials.signing_keys
    timestamp = int((now() + clock_offset).timestamp())
    header = authorization_header("GET", url, keys, nonce=nonce, timestamp=timestamp)
    known = (keys.consumer_key, keys.consumer_secret, keys.token, keys.token_secret)
    return SignedRequest(
        url=url,
        authorization=SecretStr(header),
        secrets=tuple(SecretStr(secret) for secret in known if secret),
    )
