"""The renewal that the flow, `active_session` and the clients share.

`active_session` is the quick way to ask again in loops, tasks and threads.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from etrade_flows.access.memory import forget, recall, remember
from etrade_flows.access.together import together
from etrade_flows.runs.attempts import AttemptOutcome
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.calling import show_name
from etrade_flows.runs.server import storage_told
from etrade_flows.runs.tags import current_run, outcome_of, tag_run
from etrade_flows.runs.way_in import led_to_sign_in
from etrade_tasks.clock import now
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import SessionTooShort, SignInRequired, sign_in_advice
from etrade_tasks.key_age import KEY_ADVICE, key_warning
from etrade_tasks.load_credentials import current_credentials, load_credentials
from etrade_tasks.logs import run_logger, unlogged_outside_flows
from etrade_tasks.prefect_context import untagged
from etrade_tasks.renew_session import renew_shared, require_unexpired
from etrade_tasks.session import TokenSession
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.turn import Shared
from etrade_tasks.words import clock, hours


@dataclass(frozen=True)
class Wanted:
    """What a caller wants of a session.

    Attributes:
        force: Renew even if an earlier renewal is still valid.
        required_for: How much longer the session must last.
        since: With `force`, accept a renewal that this process has made after this moment of the monotonic
            clock.
        began_at: When the deadline began to count, by the monotonic clock; None for now.
        clock_offset: What to add to this machine's clock to get E*TRADE's, if E*TRADE has just told it.
        reports: Whether the caller reports the result.
    """

    force: bool = False
    required_for: timedelta = timedelta(0)
    since: float | None = None
    began_at: float | None = None
    clock_offset: timedelta | None = None
    reports: bool = False


def active_session(
    credentials: str = DEFAULT_NAME, *, required_for: timedelta = timedelta(0)
) -> TokenSession:
    """The active session: from this process's memory while its renewal is still valid, else renewed.

    Call it as often as you like: an answer from memory takes microseconds. Tasks, threads and mapped runs in
    one process share one renewal, and processes share it as with `renew_access_token`. It makes no flow run:
    its work shows as tasks of the calling run. In async code, await `asyncio.to_thread(active_session, ...)`.

    A sign-out, a refusal or a block that this process saves clears the memory at once. An edit made
    elsewhere, such as in the Prefect UI, is noticed within a second.

    Args:
        credentials: The name of the E*TRADE Credentials block.
        required_for: How much longer the session must last.

    Raises:
        ETradeError: As `renew_access_token` raises.
    """
    session = recall(credentials) or renew(credentials, required_for=required_for)
    require_lasting(credentials, session.expires_at, now(), required_for)
    return session


def revived_session(credentials: str, sent_at: float) -> TokenSession:
    """A session renewed after the time when a refused request was sent.

    If many requests are refused at once, the first renews and the others use that renewal.

    Args:
        credentials: The name of the E*TRADE Credentials block.
        sent_at: When the request was sent, by the monotonic clock.

    Raises:
        ETradeError: As `renew_access_token` raises.
    """
    return recall(credentials, sent_at) or renew(credentials, since=sent_at)


@unlogged_outside_flows()
def renew(
    credentials: str, *, required_for: timedelta = timedelta(0), since: float | None = None
) -> TokenSession:
    """The session of these credentials, renewed now or by an earlier renewal that is still valid.

    Args:
        credentials: The name of the credentials block.
        required_for: How much longer the session must last.
        since: Accept no renewal that was made before this moment of the monotonic clock.

    Raises:
        ETradeError: As the flow `renew-access-token` raises.
        PrefectUnavailable: Prefect's default result storage cannot be loaded, so no task can run.
    """

    def load_and_renew(began_at: float) -> TokenSession:
        loaded = None
        try:
            with storage_told(), untagged():
                loaded = load_credentials(credentials)
                wanted = Wanted(since is not None, required_for, since, began_at)
                return renew_latest(credentials, loaded, wanted)[0]
        except SignInRequired as error:
            raise led_to_sign_in(error, credentials, loaded) from None

    try:
        session = together(
            credentials, partial(recall, credentials, since), load_and_renew, forced=since is not None
        )
    except SessionTooShort:
        raise
    except SignInRequired:
        # A sign-in finds the runs that wait for it by this tag.
        tag_run(credentials, outcome=AttemptOutcome.SIGN_IN_REQUIRED)
        raise
    run = current_run()
    if run is not None and credentials in run.tags and outcome_of(run) is AttemptOutcome.SIGN_IN_REQUIRED:
        tag_run()  # an earlier attempt of the same run; another account's tag stays
    return session


def renew_latest(
    name: str, loaded: ETradeCredentials, wanted: Wanted
) -> tuple[TokenSession, ETradeCredentials]:
    """The session and its credentials: those just loaded, or newer ones.

    A person may sign in just as the old token is refused, so the credentials are read once more before the
    refusal is raised. The process remembers the result.

    Raises:
        ETradeError: As the flow `renew-access-token` raises.
    """
    try:
        session = renew_loaded(name, loaded, wanted)
    except SessionTooShort:
        raise
    except SignInRequired:
        newer = None
        with best_effort("The credentials could not be read once more"):
            newer = current_credentials(name)
        if newer is None or newer.access_token in (None, loaded.access_token):
            forget(name)
            raise
        return renew_latest(name, newer, replace(wanted, since=None, began_at=None))
    return remember(name, session, loaded), loaded


@unlogged_outside_flows()
def renew_loaded(name: str, credentials: ETradeCredentials, wanted: Wanted) -> TokenSession:
    """The session of exactly these credentials.

    Raises:
        ETradeError: As the flow `renew-access-token` raises.
    """
    # First, so that a malformed setting is reported before anything else.
    effort = Effort(name) if wanted.began_at is None else Effort(name, started_at=wanted.began_at)
    if wanted.clock_offset is not None:
        effort.clock_offset, effort.offset_is_learned = wanted.clock_offset, True
    if credentials.access_token is None:
        raise nobody_signed_in(name)
    shared = Shared(credentials, effort, wanted.force, wanted.since, wanted.reports)
    expires_at = credentials.expires_at(effort.now())
    require_unexpired(name, expires_at, effort.least_now())
    require_lasting(name, expires_at, effort.least_now(), wanted.required_for)
    if wanted.reports and shared.answer is None:
        show_name()
    session = renew_shared(shared)
    # The time is now E*TRADE's, which is more accurate.
    require_lasting(
        name, session.expires_at, max(session.renewed_at, effort.least_now()), wanted.required_for
    )
    if said := key_warning(credentials.consumer_key_issued_on, now()):
        run_logger().warning("%s Next: %s", said, KEY_ADVICE)
    return session


def nobody_signed_in(name: str) -> SignInRequired:
    """The error for credentials that hold no token."""
    return SignInRequired(f"Nobody is signed in to {name!r}.", advice=sign_in_advice(name), credentials=name)


def require_lasting(name: str, expires_at: datetime, at: datetime, required_for: timedelta) -> None:
    """Raise if the session ends too soon. With a `required_for` of zero it never does.

    Raises:
        SessionTooShort: Says when it ends and how long it is needed.
    """
    if required_for > max(expires_at - at, timedelta(0)):
        raise SessionTooShort(
            f"The E*TRADE session of {name!r} ends at {clock(expires_at)} US Eastern, in "
            f"{hours(expires_at - at)}, and {hours(required_for)} are needed.",
            credentials=name,
            expires_at=expires_at,
        )
