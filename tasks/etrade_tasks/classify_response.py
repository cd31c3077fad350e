"""The task `classify-response`."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from etrade_tasks.oauth.replies import RenewalReply, Verdict, classify


@task(name="classify-response", retries=0, cache_policy=NO_CACHE, persist_result=False)
def classify_response(reply: RenewalReply) -> Verdict:
    """The verdict on a reply: what it means and what follows. Never raises.

    Args:
        reply: What `call-renew` returned.
    """
    return classify(reply)
