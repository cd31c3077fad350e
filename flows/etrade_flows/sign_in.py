"""The flow `sign-in`: a person signs in from the Prefect UI, from a phone if need be.

The run pauses, and takes the verifier as the input with which it is resumed. E*TRADE's address stands in the
form that Resume opens. It holds the consumer key and the request token, which is worthless without the secret
that this process alone holds; so it is shown while it is of use, where it can be deleted. A log, an artifact
and a parameter are no such places: the server puts an artifact into an event, and keeps that. Form and input
are stored in plain text, and deleted as soon as the input has been read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.objects import State
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Completed, Failed, Running
from prefect.utilities.urls import url_for
from pydantic import Field

from etrade_flows.operator_report import tag_run
from etrade_flows.run_endings import current_run, describe
from etrade_flows.session_day import clock
from etrade_flows.signing_in import ROUNDS, SignIn, begin, complete, stored_credentials
from etrade_tasks.authorization import REQUEST_TOKEN_LIFETIME, VerifierRefused
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.logs import run_logger
from etrade_tasks.session import TokenSession

SIGNED_IN = "SignedIn"
NOBODY_ANSWERED = "NobodyAnswered"

PATIENCE = int(REQUEST_TOKEN_LIFETIME.total_seconds())
"""Seconds that a run waits for its person."""

POLL_SECONDS = 2
"""How often a waiting run looks for the answer."""

_OVER = "No run waits for a sign-in. The last one says how it ended."


class Answer(RunInput):
    """What the person enters when the run is resumed."""

    verifier: str = Field(
        title="Verifier",
        description="The five characters that E*TRADE shows once you have accepted. They work once.",
    )


def artifact_key(credentials: str) -> str:
    """The key of the artifact that leads to the waiting run."""
    return f"etrade-sign-in-{credentials}"


@flow(name="sign-in", flow_run_name="sign in {credentials}")
def sign_in(credentials: str = "etrade") -> TokenSession:
    """Lets a person sign in at E*TRADE: press Resume, open the link, accept and enter the verifier.

    The artifact `etrade-sign-in-<credentials>` leads to the run that waits. The new token is proven by a
    first renewal before it replaces the old one in the block. A verifier that is refused leads to another
    link, at most twice. If nobody answers within five minutes, the run fails as `NobodyAnswered`.

    Args:
        credentials: The name of the E*TRADE Credentials block, which must hold the consumer keys.

    Returns:
        The session, without any secret.

    Raises:
        CredentialsNotFound: There is no block of that name.
        CredentialsInvalid: The block cannot be used as it stands.
        VerifierRefused: Three verifiers were wrong, late or used already.
        ConfigurationRefused: A key, a secret or an address is wrong.
        AuthorizationFailed: E*TRADE or the network did not answer well.
        RenewalFailed: The new token could not be proven; the block is as it was.
    """
    stored = stored_credentials(credentials)
    tag_run(credentials, stored.environment)
    try:
        with _announced(credentials):
            session = _signed_in(credentials, stored)
    except FlowPauseTimeout:
        return cast("TokenSession", _unanswered())
    said = describe(session)
    run_logger().info("%r is signed in. %s", credentials, said)
    return cast("TokenSession", Completed(name=SIGNED_IN, message=said, data=session))


def _signed_in(name: str, stored: ETradeCredentials) -> TokenSession:
    """The session after at most `ROUNDS` verifiers, each of a request token of its own."""
    before = ""
    for _ in range(ROUNDS - 1):
        try:
            return _one_round(begin(name, stored), before)
        except VerifierRefused as refused:
            before = f"{refused.message} Here is a new link. "
            run_logger().warning("%s The run pauses again, with a new link.", refused.message)
    return _one_round(begin(name, stored), before)


def _one_round(waiting: SignIn, before: str) -> TokenSession:
    ends_at = clock(waiting.request_token.issued_at + REQUEST_TOKEN_LIFETIME)
    form = Answer.with_initial_data(
        description=f"{before}[Log in to E*TRADE]({waiting.authorize_url}), accept, and enter the "
        f"verifier that you are shown, before {ends_at} US Eastern."
    )
    run_logger().info("Sign in to %r before %s US Eastern: press Resume.", waiting.name, ends_at)
    with _inputs_deleted():
        verifier = pause_flow_run(form, timeout=PATIENCE, poll_interval=POLL_SECONDS).verifier
    return complete(waiting, verifier)


@contextmanager
def _announced(name: str) -> Iterator[None]:
    """An artifact that leads to the run that waits, for as long as the `with` block lasts."""
    page = url_for("flow-run", obj_id=_run_id())
    run = f"[the run that waits for you]({page})" if page else "the run that waits for you"
    made = create_markdown_artifact(
        key=artifact_key(name),
        markdown=f"Open {run} and press **Resume**.",
        description=f"Where somebody signs in to {name}.",
    )
    try:
        yield
    finally:
        with get_client(sync_client=True) as client:
            client.update_artifact(cast("UUID", made), ArtifactUpdate(data=_OVER))


@contextmanager
def _inputs_deleted() -> Iterator[None]:
    """Delete what the form held and what was entered, at the end of the `with` block."""
    try:
        yield
    finally:
        run_id = _run_id()
        with get_client(sync_client=True) as client:
            kept = client.filter_flow_run_input(run_id, key_prefix="paused-", limit=10, exclude_keys=set())
            for found in kept:
                client.delete_flow_run_input(run_id, found.key)


def _unanswered() -> State[Any]:
    """The failed state `NobodyAnswered`, with the run brought to where it may end in it."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(_run_id()).state
        if found is not None and found.is_paused():
            # Past its time a paused run may only fail, in a state that the server names.
            client.set_flow_run_state(_run_id(), Running(), force=True)
    return Failed(name=NOBODY_ANSWERED, message="Nobody entered a verifier in time. Next: run it again.")


def _run_id() -> UUID:
    run = current_run()
    assert run is not None  # noqa: S101  # for type checkers: a run alone can pause
    return run.id
