"""The flow `renew-access-token`."""

from datetime import timedelta
from typing import Annotated, cast

from prefect import flow

from etrade_flows.access.renewal import Wanted, renew_latest
from etrade_flows.news.telling import tell, tell_failure
from etrade_flows.runs.attempts import Ending
from etrade_flows.runs.calling import NAMED, RenewalFlow, take_name
from etrade_flows.runs.endings import describe, end_unwell, end_well
from etrade_flows.runs.names import RENEWAL, titled
from etrade_flows.runs.second_try import try_again_soon
from etrade_tasks.clock import now
from etrade_tasks.credentials import DEFAULT_NAME
from etrade_tasks.errors import ETradeError
from etrade_tasks.load_credentials import load_credentials
from etrade_tasks.logs import run_logger
from etrade_tasks.prefect_context import untagged
from etrade_tasks.session import TokenSession


@RenewalFlow.of
# Not stored: Prefect would give the old session to a parent that is retried hours later.
@flow(name=RENEWAL, flow_run_name=NAMED, retries=0, persist_result=False)
def renew_access_token(
    credentials: Annotated[str, titled("E*TRADE Credentials block")] = DEFAULT_NAME,
    force: Annotated[bool, titled("Renew even if an earlier renewal is still valid")] = False,
    required_for: Annotated[timedelta, titled("Session needed for (PT2H is two hours)")] = timedelta(0),
) -> TokenSession:
    """Makes sure that the E*TRADE access token is active, or says what a person must do.

    Call it before a pipeline's first request to E*TRADE; async code awaits it. Within 50 minutes of a renewal
    it reuses that renewal. Otherwise it renews the token with one signed call, and retries if that can help.

    It cannot extend a session past midnight US Eastern: then a person signs in again. If nobody is signed in,
    a *scheduled* run fails once a day and then completes quietly. A subflow always raises, and so does a run
    whose session is only too short.

    Args:
        credentials: The name of the E*TRADE Credentials block. If there is no such block, the environment
            variables ETRADE_... are used.
        force: Renew even if an earlier renewal is still valid.
        required_for: How long the pipeline needs the session, as an ISO 8601 duration: PT2H is two hours,
            PT90M ninety minutes. If midnight US Eastern comes sooner, the run fails before it calls E*TRADE.

    Returns:
        The session, without any secret: when it was renewed, when it goes idle, when it expires.

    Raises:
        SignInRequired: A person must sign in.
        SessionTooShort: The session ends sooner than `required_for` from now. It is also a `SignInRequired`.
        ConfigurationRefused: A key, a secret or an address is wrong.
        CredentialsNotFound: There is neither a block of that name nor a complete environment.
        CredentialsInvalid: The credentials or an `ETRADE_*` setting cannot be used.
        RenewalFailed: E*TRADE or the network kept failing until the deadline.
    """
    began_at, loaded = now(), None
    take_name(credentials)
    try:
        with untagged():
            loaded = load_credentials(credentials)
            wanted = Wanted(force=force, required_for=required_for, reports=True)
            session, loaded = renew_latest(credentials, loaded, wanted)
    except Exception as error:
        told = tell_failure(credentials, began_at, error, loaded)
        if told is None or not isinstance(error, ETradeError):
            raise
        try_again_soon(error)
        signed_in_at = loaded.signed_in_at if loaded else None
        return cast("TokenSession", end_unwell(told, signed_in_at))
    tell(Ending(credentials, began_at, session, loaded))
    said = describe(session)
    run_logger().info("The E*TRADE session of %r is active. %s", credentials, said)
    return end_well(said, session)
