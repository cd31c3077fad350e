"""Signing out, in the terminal and as the flow `sign-out`: the token is revoked at E*TRADE, then removed."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from etrade_flows.access.memory import forget_sessions
from etrade_flows.access.renewal import nobody_signed_in
from etrade_flows.news.events import emit_sign
from etrade_flows.news.session_news import SessionEvent
from etrade_flows.news.telling import tell_failure, tell_signed
from etrade_flows.person.login import store, stored_credentials, without_token
from etrade_flows.runs.attempts import Ending
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.names import SIGN_OUT, sign_out_run, titled
from etrade_flows.runs.tags import tag_run
from etrade_tasks.clock import now
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import AuthorizationFailed, ConfigurationRefused, SignInRequired
from etrade_tasks.load_credentials import load_block
from etrade_tasks.logs import run_logger
from etrade_tasks.oauth.authorization import revoke
from etrade_tasks.renew_session import require_unexpired
from etrade_tasks.sharing.record import Records


# Not stored: a retried parent signs out again, because somebody may have signed in meanwhile.
@flow(name=SIGN_OUT, flow_run_name=sign_out_run("{credentials}"), retries=0, persist_result=False)
def sign_out(
    credentials: Annotated[str, titled("E*TRADE Credentials block")] = DEFAULT_NAME,
) -> State[Any]:
    """Ends the E*TRADE session: the token is revoked at E*TRADE and removed from the block.

    The block keeps its consumer keys, so that `sign-in` can open the next session. If E*TRADE does not
    confirm that the token is dead, it stays in the block, and the run fails.

    Args:
        credentials: The name of the E*TRADE Credentials block.

    Returns:
        The completed state; its message says how the token ended.

    Raises:
        CredentialsNotFound: There is no block of that name.
        CredentialsInvalid: The block cannot be used.
        ConfigurationRefused: A key, a secret or an address is wrong.
        AuthorizationFailed: E*TRADE or the network kept failing.
    """
    began_at, stored = now(), None
    try:
        stored = stored_credentials(credentials)
        tag_run(credentials, stored.environment)
        said = end_session(credentials, stored)
    except Exception as error:
        tell_failure(credentials, began_at, error, stored)
        raise
    run_logger().info("%s", said)
    with best_effort("The report could not be written"):
        tell_signed("signed out", Ending(credentials, began_at, None, stored_credentials(credentials)))
    return Completed(message=said)


def end_session(name: str, credentials: ETradeCredentials) -> str:
    """Revoke the token and remove it from the block; return a sentence that says how it ended.

    Args:
        name: The block's name.
        credentials: The block as it was loaded. Later edits stay, and so does the token of a later sign-in.

    Raises:
        ConfigurationRefused: A key, a secret or an address is wrong. The block is unchanged.
        AuthorizationFailed: E*TRADE did not confirm that the token is dead. The block is unchanged.
    """
    if credentials.access_token is None:
        return nobody_signed_in(name).message
    moment = now()
    try:
        # E*TRADE sometimes refuses yesterday's token without a reason.
        require_unexpired(name, credentials.expires_at(moment), moment)
        revoke(credentials.signing_keys, credentials.oauth_base_url)
        said = f"The access token of {name!r} is revoked and removed."
    except SignInRequired as over:
        said = f"{over.message} The token is removed."
    except (AuthorizationFailed, ConfigurationRefused) as error:
        message = f"{error.message} The token stays in the block."
        raise type(error)(message, advice=error.advice, **error.facts) from error
    Records().end(credentials)
    forget_sessions()
    block = load_block(name)
    if block and block.access_token not in (None, credentials.access_token):
        return f"{said} Somebody has signed in meanwhile: that token stays."
    if block:
        store(name, without_token(block))
    emit_sign(SessionEvent.SIGNED_OUT, name, credentials)
    return said
