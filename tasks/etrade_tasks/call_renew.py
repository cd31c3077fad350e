"""The task `call-renew`."""

from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from etrade_tasks.oauth.http import CALL_LIMIT, fetch
from etrade_tasks.oauth.replies import RenewalReply
from etrade_tasks.oauth.signature import SignedRequest


# A reply is of one moment: a cached one would say that a token lives which has died since.
@task(name="call-renew", retries=0, cache_policy=NO_CACHE, persist_result=False)
def call_renew(request: SignedRequest, limit: timedelta = CALL_LIMIT) -> RenewalReply:
    """E*TRADE's reply to one GET, or what the network did instead. Never raises on what the network does.

    Args:
        request: The signed call.
        limit: The longest the whole call may take.

    Raises:
        CredentialsInvalid: A setting for TLS cannot be used.
    """
    return fetch(request, limit)
