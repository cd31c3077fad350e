"""The task `sign-request`."""

from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.oauth.signature import SignedRequest, signed_get

RENEW_PATH = "/renew_access_token"


# If it were cached or retried by itself, it would send a nonce twice, which E*TRADE refuses as a replay.
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
