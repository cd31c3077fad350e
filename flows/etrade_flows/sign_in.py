"""The flow `sign-in`: a person signs in from the Prefect UI, even from a phone.

The run pauses, and gets the verifier as input when it is resumed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, cast
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.objects import StateType
from prefect.exceptions import FlowPauseTimeout
from prefect.states import Failed
from prefect.utilities.urls import url_for

from etrade_flows.access.memory import remember
from etrade_flows.access.renewal import Wanted, renew_loaded
from etrade_flows.news.telling import tell_failure, tell_signed
from etrade_flows.person.form import ask, clear_leftovers, keep_running, this_run
from etrade_flows.person.login import SignIn, in_rounds, stored_credentials
from etrade_flows.person.waiting_runs import let_go_on
from etrade_flows.report.day import short_session
from etrade_flows.runs.attempts import Ending
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.endings import describe, end_well
from etrade_flows.runs.names import SIGN_IN, sign_in_run, titled
from etrade_flows.runs.once_a_day import as_message
from etrade_flows.runs.sure_ends import SureFlow
from etrade_flows.runs.tags import tag_run
from etrade_tasks.clock import now
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import ETradeError, RenewalFailed, SignInRequired, VerifierRefused
from etrade_tasks.logs import run_logger
from etrade_tasks.oauth.authorization import REQUEST_TOKEN_LIFETIME
from etrade_tasks.session import TokenSession
from etrade_tasks.words import clock

OUTAGE_PAUSE = 300.0
"""Seconds until a run that is kept open tries again, if E*TRADE did not serve it."""

_OVER = "No run is waiting for a sign-in. The last run says how it ended."


def artifact_key(credentials: str) -> str:
    """The key of the artifact that links to the waiting run."""
    return f"etrade-sign-in-{credentials}"


# Not stored: a retried parent asks the person again.
@SureFlow.of
@flow(name=SIGN_IN, flow_run_name=sign_in_run("{credentials}"), retries=0, persist_result=False)
def sign_in(
    credentials: Annotated[str, titled("E*TRADE Credentials block")] = DEFAULT_NAME,
    rerun: Annotated[bool, titled("Then run again what failed because nobody was signed in")] = False,
    keep_open_for: Annotated[timedelta, titled("Wait for somebody (PT12H is twelve hours)")] = timedelta(0),
) -> TokenSession:
    """Lets a person sign in at E*TRADE: press Resume in the run's menu, open the link, enter the verifier.

    The artifact `etrade-sign-in-<credentials>` links to the waiting run. A first renewal tests the new token
    before it replaces the old one in the block. If a verifier is refused, there is another link, at most
    twice. If nobody answers in time or signs in elsewhere, the run fails.

    Args:
        credentials: The name of the E*TRADE Credentials block, which must hold the consumer keys.
        rerun: Afterwards, run again what failed today because nobody was signed in to these credentials, and
            resume what paused for that. Only runs of deployments can be run again.
        keep_open_for: How long to wait for a person, as an ISO 8601 duration: PT12H is twelve hours. Links
            last five minutes, so the form then gets a new one; PT0S waits only as long as the first link. A
            run that is kept open asks nobody if the session is already good, and goes on after an outage.

    Returns:
        The session, without any secret.

    Raises:
        CredentialsNotFound: There is no block of that name.
        CredentialsInvalid: The block cannot be used.
        VerifierRefused: Three verifiers were wrong, late or already used.
        ConfigurationRefused: A key, a secret or an address is wrong.
        AuthorizationFailed: E*TRADE or the network kept failing.
        RenewalFailed: The first renewal of the new token failed; the block is unchanged.
    """
    with best_effort("The leftovers of earlier sign-ins could not be deleted"):
        clear_leftovers(credentials)
    began_at, stored = now(), None
    try:
        stored = stored_credentials(credentials)
        tag_run(credentials, stored.environment)
        with _announced(credentials):
            session, said = _signed_in(credentials, stored, keep_open_for)
    except FlowPauseTimeout:
        unanswered = VerifierRefused("Nobody entered a verifier in time.", advice="run it again.")
        tell_failure(credentials, began_at, unanswered, stored)
        return cast("TokenSession", Failed(message=as_message(unanswered)))
    except Exception as error:
        tell_failure(credentials, began_at, error, stored)
        raise
    run_logger().info("%r is signed in. %s", credentials, said)
    with best_effort("The report could not be written"):
        tell_signed("signed in", Ending(credentials, began_at, session, stored_credentials(credentials)))
    if rerun:
        with best_effort("The waiting runs could not be looked up"):
            run_logger().info("Going on: %s.", ", ".join(let_go_on(credentials)) or "nothing waited")
    return end_well(said, session)


def _signed_in(name: str, stored: ETradeCredentials, keep_open_for: timedelta) -> tuple[TokenSession, str]:
    """The session, and a sentence that says how it was opened.

    Raises:
        FlowPauseTimeout: Nobody signed in in time, neither here nor elsewhere.
    """
    ends_at = now() + keep_open_for
    # The run may begin late, when somebody has already signed in.
    if keep_open_for > timedelta(0) and (elsewhere := _signed_in_elsewhere(name, stored)):
        return elsewhere
    run_logger().info(
        "Sign in to %r before %s US Eastern: press Resume in this run's menu.",
        name,
        clock(now() + max(keep_open_for, REQUEST_TOKEN_LIFETIME)),
    )
    while True:
        try:
            session = in_rounds(name, stored, _ask)
            return session, describe(session)
        except FlowPauseTimeout:
            before, stored = stored, stored_credentials(name)
            replaced = stored.access_token != before.access_token
            if replaced and (elsewhere := _signed_in_elsewhere(name, stored)):
                return elsewhere
            if now() >= ends_at:
                raise
        except ETradeError as error:
            if not error.retryable or now() >= ends_at:
                raise
            run_logger().warning("%s The sign-in goes on in a few minutes.", error.message)
            with best_effort("Prefect could not be told that the sign-in goes on"):
                keep_running(StateType.RUNNING)
            time.sleep(OUTAGE_PAUSE)


def _signed_in_elsewhere(name: str, stored: ETradeCredentials) -> tuple[TokenSession, str] | None:
    """The same as `_signed_in` for the stored token, if E*TRADE confirms it; None if it does not."""
    try:
        session = renew_loaded(name, stored, Wanted(force=True))
    except (SignInRequired, RenewalFailed):
        return None
    return remember(name, session, stored), f"Somebody has signed in elsewhere. {describe(session)}"


def _ask(waiting: SignIn, refused: VerifierRefused | None) -> str:
    """The verifier that a person enters into the form that Resume opens."""
    began_at = waiting.request_token.issued_at
    ends_at = clock(began_at + REQUEST_TOKEN_LIFETIME)
    notes = [short_session(began_at)]
    if refused:
        notes.append(f"{refused.message} Here is a new link.")
        run_logger().warning("%s The run pauses again, with a new link.", refused.message)
    before = "".join(f"{note} " for note in notes if note)
    return ask(
        f"{before}[Log in to E*TRADE]({waiting.authorize_url}), accept, and enter the verifier that it shows "
        f"before {ends_at} US Eastern. The link leaves this page: open it in another tab, or come back and "
        "press Resume again."
    )


@contextmanager
def _announced(name: str) -> Iterator[None]:
    """An artifact that links to the waiting run, inside the `with` block."""
    page = url_for("flow-run", obj_id=this_run())
    run = f"[the run that is waiting for you]({page})" if page else "the run that is waiting for you"
    made = create_markdown_artifact(
        key=artifact_key(name),
        markdown=f"Open {run} and press **Resume** in its menu ⋮ at the top right.",
        description=f"Where to sign in to {name}.",
    )
    try:
        yield
    finally:
        gone = f"The artifact {artifact_key(name)!r} could not be updated"
        with best_effort(gone), get_client(sync_client=True) as client:
            client.update_artifact(cast("UUID", made), ArtifactUpdate(data=_OVER))
