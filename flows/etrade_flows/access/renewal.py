"""One renewal, the same for the flow, for `active_session` and for the clients."""

from dataclasses import replace
from datetime import datetime, timedelta

from etrade_flows.access.memory import forget, remember
from etrade_flows.report.day import clock
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.server import storage_told
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import SessionTooShort, SignInRequired, sign_in_advice
from etrade_tasks.key_age import KEY_ADVICE, key_warning
from etrade_tasks.load_credentials import current_credentials, load_credentials
from etrade_tasks.logs import run_logger, unlogged_outside_flows
from etrade_tasks.renew_session import renew_shared, require_unexpired
from etrade_tasks.session import TokenSession
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.turn import Shared


@unlogged_outside_flows()
def renew(
    credentials: str, *, required_for: timedelta = timedelta(0), since: float | None = None
) -> TokenSession:
    """The session of these credentials, renewed now or by an earlier renewal that still answers.

    Args:
        credentials: The name of the credentials block.
        required_for: How long the session must last yet.
        since: Accept no renewal of before this moment of the monotonic clock.

    Raises:
        ETradeError: What the flow `renew-access-token` raises.
        PrefectUnavailable: Prefect's default result storage cannot be loaded, so no task can run.
    """
    force = since is not None
    with storage_told():
        loaded = load_credentials(credentials)
        return renew_latest(credentials, loaded, force=force, required_for=required_for, since=since)[0]


@unlogged_outside_flows()
def renew_latest(
    name: str,
    loaded: ETradeCredentials,
    *,
    force: bool = False,
    required_for: timedelta = timedelta(0),
    since: float | None = None,
) -> tuple[TokenSession, ETradeCredentials]:
    """The session, and the credentials that it belongs to: those just loaded, or newer ones.

    A person may sign in at the moment in which the old token is refused, so the credentials are read once
    more before that is raised. The process remembers what came of it.

    Args:
        name: The credentials' name.
        loaded: Whose token to renew.
        force: Renew although an earlier renewal still answers.
        required_for: How long the session must last yet.
        since: With `force`, accept a renewal that this process has made after this moment of the monotonic
            clock.

    Raises:
        ETradeError: What the flow `renew-access-token` raises.
    """
    try:
        try:
            session = renew_loaded(name, loaded, force=force, required_for=required_for, since=since)
        except SessionTooShort:
            raise
        except SignInRequired:
            newer = _newer(name, loaded)
            if newer is None:
                raise
            loaded = newer
            session = renew_loaded(name, loaded, force=force, required_for=required_for)
    except SessionTooShort:
        raise
    except SignInRequired:
        forget(name)
        raise
    return remember(name, session, loaded), loaded


@unlogged_outside_flows()
def renew_loaded(
    name: str,
    credentials: ETradeCredentials,
    *,
    force: bool = False,
    required_for: timedelta = timedelta(0),
    clock_offset: timedelta | None = None,
    since: float | None = None,
) -> TokenSession:
    """The session of just these credentials.

    Args:
        name: The credentials' name.
        credentials: Whose token to renew.
        force: Renew although an earlier renewal still answers.
        required_for: How long the session must last yet.
        clock_offset: What to add to this machine's clock to get E*TRADE's, if E*TRADE has just told.
        since: As of `renew_latest`.

    Raises:
        ETradeError: What the flow `renew-access-token` raises.
    """
    effort = Effort(name)  # first, so that a malformed setting is reported before anything else
    if clock_offset is not None:
        effort = replace(effort, clock_offset=clock_offset, offset_is_learned=True)
    require_signed_in(name, credentials)
    shared = Shared(credentials, effort, force, since)
    expires_at = credentials.expires_at(effort.now())
    require_unexpired(effort, expires_at)
    require_lasting(name, expires_at, effort.least_now(), required_for)
    session = renew_shared(shared)
    # By now the time is known better: it is E*TRADE's.
    require_lasting(name, session.expires_at, max(session.renewed_at, effort.least_now()), required_for)
    if said := key_warning(credentials.consumer_key_issued_on, now()):
        run_logger().warning("%s Next: %s", said, KEY_ADVICE)
    return session


def _newer(name: str, loaded: ETradeCredentials) -> ETradeCredentials | None:
    """The credentials of that name, if they hold another token by now."""
    current = None
    with best_effort("The credentials could not be read once more"):
        current = current_credentials(name)
    if current is None or current.access_token in (None, loaded.access_token):
        return None
    return current


def require_signed_in(name: str, credentials: ETradeCredentials) -> None:
    """Refuse credentials that hold no token.

    Raises:
        SignInRequired: Nobody is signed in.
    """
    if credentials.access_token is None:
        raise SignInRequired(f"Nobody is signed in to {name!r}.", advice=sign_in_advice(name))


def require_lasting(name: str, expires_at: datetime, at: datetime, required_for: timedelta) -> None:
    """Refuse a session that ends sooner than it is needed. One that is needed for no time at all lasts.

    Raises:
        SessionTooShort: Says when it ends and how long it is needed.
    """
    if required_for > max(expires_at - at, timedelta(0)):
        raise SessionTooShort(
            f"The E*TRADE session of {name!r} ends at {clock(expires_at)} US Eastern, in "
            f"{_hours(expires_at - at)}, and {_hours(required_for)} are needed."
        )


def _hours(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
