"""The task `call-renew`."""

from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from etrade_tasks.oauth.http import CALL_LIMIT, fetch
from etrade_tasks.oauth.replies import RenewalReply
from etrade_tasks.oauth.signature import SignedRequest


# Never cached: an old reply would say that a token is alive which has died since.
@task(name="call-renew", retries=0, cache_policy=NO_CACHE, persist_result=False)
def call_renew(request: SignedRequest, limit: timedelta = CALL_LIMIT) -> RenewalReply:
    """E*TRADE's reply to one GET, or the network's failure. Never raises for a network failure.

    Args:
        request: The signed call.
        limit: The longest that the whole call may take.

    Raises:
        CredentialsInvalid: A setting for TLS cannot be used.
    """
    return fetch(request, limit)
