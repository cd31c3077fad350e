"""`active_session`: the quick way to ask again, for loops, tasks and threads."""

from datetime import timedelta

from etrade_flows.access.memory import recall, recall_since
from etrade_flows.access.renewal import renew, require_lasting
from etrade_tasks.clock import now
from etrade_tasks.session import TokenSession


def active_session(credentials: str = "etrade", *, required_for: timedelta = timedelta(0)) -> TokenSession:
    """The active session: from this process's memory while its renewal still answers, else renewed.

    Ask as often as you like: an answer from memory takes microseconds. A parent's tasks, threads and mapped
    runs in one process share one renewal, and processes share it as those of `renew_access_token` do. It
    makes no flow run of its own; what it does shows as tasks of the run that calls it. In async code, await
    `asyncio.to_thread(active_session, ...)`.

    A sign-out, a refusal and a block that this process saves end what is remembered at once. An edit made
    elsewhere, as in the Prefect UI, is seen within a second.

    Args:
        credentials: The name of the E*TRADE Credentials block.
        required_for: How long the session must last yet.

    Raises:
        ETradeError: What `renew_access_token` raises.
    """
    session = recall(credentials, now())
    if session is None:
        return renew(credentials, required_for=required_for)
    require_lasting(credentials, session.expires_at, now(), required_for)
    return session


def revived_session(credentials: str, sent_at: float) -> TokenSession:
    """A session renewed after a request was sent that E*TRADE refused.

    Of many requests that are refused at once, the first renews; the others are served by that.

    Args:
        credentials: The name of the E*TRADE Credentials block.
        sent_at: When the request was sent, by the monotonic clock.

    Raises:
        ETradeError: What `renew_access_token` raises.
    """
    return recall_since(credentials, sent_at, now()) or renew(credentials, since=sent_at)
