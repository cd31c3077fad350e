"""One renewal, the same for the flow, for `active_session` and for the clients."""

from __future__ import annotations

from datetime import datetime, timedelta

from etrade_flows.session_day import clock
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import SessionTooShort, SignInRequired, sign_in_advice
from etrade_tasks.key_age import KEY_ADVICE, key_warning
from etrade_tasks.load_credentials import load_credentials
from etrade_tasks.logs import run_logger, unlogged_outside_flows
from etrade_tasks.renew_session import renew_shared, require_unexpired
from etrade_tasks.session import TokenSession
from etrade_tasks.sharing.effort import Effort


@unlogged_outside_flows()
def renew(credentials: str, *, force: bool = False, required_for: timedelta = timedelta(0)) -> TokenSession:
    """The session of these credentials, renewed or vouched for by an earlier renewal.

    Args:
        credentials: The name of the credentials block.
        force: Renew although an earlier renewal still vouches.
        required_for: How long the session must last yet.

    Raises:
        ETradeError: What the flow `renew-access-token` raises.
    """
    return renew_loaded(credentials, load_credentials(credentials), force=force, required_for=required_for)


@unlogged_outside_flows()
def renew_loaded(
    name: str,
    credentials: ETradeCredentials,
    *,
    force: bool = False,
    required_for: timedelta = timedelta(0),
    clock_offset: timedelta = timedelta(0),
) -> TokenSession:
    """As `renew`, with credentials that are loaded already.

    Args:
        name: The credentials' name.
        credentials: Whose token to renew.
        force: Renew although an earlier renewal still vouches.
        required_for: How long the session must last yet.
        clock_offset: What to add to this machine's clock to get E*TRADE's, as far as that is known.

    Raises:
        ETradeError: What the flow `renew-access-token` raises.
    """
    effort = Effort(name)  # first, so that a malformed setting is told of before anything else
    require_signed_in(name, credentials)
    effort = Effort(name, clock_offset=clock_offset)
    moment = effort.now()
    require_lasting(name, credentials.expires_at(moment), moment, required_for)
    session = renew_shared(credentials, effort, force=force)
    if said := key_warning(credentials.consumer_key_issued_on, now()):
        run_logger().warning("%s Next: %s", said, KEY_ADVICE)
    return session


def require_signed_in(name: str, credentials: ETradeCredentials) -> None:
    """Refuse credentials that hold no token.

    Raises:
        SignInRequired: Nobody is signed in.
    """
    if credentials.access_token is None:
        raise SignInRequired(f"Nobody is signed in to {name!r}.", advice=sign_in_advice(name))


def require_lasting(name: str, expires_at: datetime, at: datetime, required_for: timedelta) -> None:
    """Refuse, before any call, a session that is over or ends sooner than it is needed.

    Raises:
        SignInRequired: It is over.
        SessionTooShort: Says when it ends and how long it is needed.
    """
    require_unexpired(name, expires_at, at)
    if required_for > expires_at - at:
        raise SessionTooShort(
            f"The E*TRADE session of {name!r} ends at {clock(expires_at)} US Eastern, in "
            f"{_hours(expires_at - at)}, and {_hours(required_for)} are needed."
        )


def _hours(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
