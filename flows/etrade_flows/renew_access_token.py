"""The flow `renew-access-token`."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow

from etrade_flows.renewal import renew
from etrade_tasks.logs import run_logger
from etrade_tasks.session import EASTERN, TokenSession


@flow(name="renew-access-token", flow_run_name="renew {credentials}")
def renew_access_token(
    credentials: str = "etrade", force: bool = False, required_for: timedelta = timedelta(0)
) -> TokenSession:
    """Makes sure that the E*TRADE access token is active, or says what a person must do.

    Call it before a pipeline's first request to E*TRADE. Within 50 minutes of a renewal it answers from the
    cache; otherwise it renews the token by one signed call, which it repeats where that can help.

    It cannot carry a session past midnight US Eastern: then a person signs in again.

    Args:
        credentials: The name of the E*TRADE Credentials block. Where there is no such block, the `ETRADE_*`
            environment variables are used.
        force: Renew even though an earlier renewal still vouches for the token.
        required_for: How long the pipeline needs the session, in seconds or as an ISO 8601 duration (`PT2H`).
            If midnight US Eastern comes sooner, the run fails before it calls E*TRADE.

    Returns:
        The session, without any secret: when it was renewed, when it goes inactive, when it expires.

    Raises:
        SignInRequired: A person must sign in, or the session ends sooner than the pipeline needs.
        ConfigurationRefused: A key, a secret or an address is wrong.
        CredentialsNotFound: There is neither a block of that name nor a complete environment.
        CredentialsInvalid: The credentials cannot be used as they stand.
        RenewalFailed: E*TRADE or the network did not answer well within the deadline.
    """
    session = renew(credentials, force=force, required_for=required_for)
    run_logger().info(
        "The E*TRADE session of %r is active (%s): idle from %s, over at %s US Eastern.",
        credentials,
        "vouched for by an earlier renewal" if session.reused else f"renewed in {session.attempts} call(s)",
        f"{session.idle_at.astimezone(EASTERN):%H:%M}",
        f"{session.expires_at.astimezone(EASTERN):%Y-%m-%d %H:%M}",
    )
    return session
