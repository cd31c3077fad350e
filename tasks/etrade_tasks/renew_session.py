"""The task `renew-session`: renews a session, retries if that can help, and shares the result."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from etrade_tasks.call_renew import call_renew
from etrade_tasks.classify_response import classify_response
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import (
    ConfigurationRefused,
    CredentialsInvalid,
    ETradeError,
    RenewalFailed,
    SignInRequired,
    sign_in_advice,
)
from etrade_tasks.logs import run_logger
from etrade_tasks.oauth.replies import (
    SKEW_WARNED,
    Outcome,
    RenewalReply,
    Verdict,
    answered_at,
    clock_advice,
)
from etrade_tasks.prefect_context import untagged
from etrade_tasks.session import IDLE_LIMIT, TokenSession
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sharing.turn import Shared
from etrade_tasks.sign_request import sign_request
from etrade_tasks.words import eastern_words

RETRIES = 6
"""How many times a failed attempt is retried, as long as the deadline allows."""

JITTER = 0.5
"""How much a delay varies at random, so that many runs do not retry at the same moment."""


@task(
    name="renew-session",
    description="Renews the session once for all callers within the reuse window.",
    # We keep the result in our own record; `sharing.record` says why.
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(1),
    retry_jitter_factor=JITTER,
)
def renew_session(shared: Shared) -> TokenSession:
    """Try once to renew the session: sign, call, classify. Return the session.

    Prefect runs the body once for each attempt, so every attempt has its own nonce and timestamp: E*TRADE
    refuses a repeated nonce as a replay, and a timestamp older than five minutes as stale.

    If another renewal has left an answer, no call is made, and the run ends as `Cached`.

    Args:
        shared: Whose token to renew, and the time it may take. It carries what one attempt learns to the
            next.

    Raises:
        SignInRequired: The token is past its midnight, or E*TRADE says it is dead.
        ConfigurationRefused: A key, a secret or an address is wrong.
        RenewalFailed: Any failure that another attempt may not meet.
    """
    credentials, effort = shared.credentials, shared.effort
    if effort.calls > 0:  # another run may have gone ahead while this one waited
        shared.look()
    if shared.answer is not None:
        # Prefect takes a state for the end of the run.
        return Completed(name="Cached", data=shared.answer)  # type: ignore[return-value]
    if effort.last_error is not None and effort.remaining() <= 0:
        raise effort.last_error
    require_unexpired(effort.name, credentials.expires_at(effort.now()), effort.least_now())
    effort.calls += 1
    sent_at, started_at = effort.now(), time.monotonic()
    request = sign_request(credentials, effort.clock_offset)
    reply = call_renew(request, limit=effort.call_limit())
    verdict = classify_response(reply)
    if verdict.outcome is not Outcome.RENEWED:
        error = _error_for(verdict, reply, effort)
        effort.learn(verdict, error)
        raise error
    took = max(timedelta(seconds=time.monotonic() - started_at), effort.now() - sent_at)
    # Otherwise the time of sending, because a stopped process may read an answer long after it came.
    return _renewed(credentials, effort, answered_at(reply, sent_at), took)


def _renewed(
    credentials: ETradeCredentials, effort: Effort, renewed_at: datetime, took: timedelta
) -> TokenSession:
    """The session that E*TRADE has renewed.

    Args:
        credentials: Whose token was renewed.
        effort: What the attempts have learned.
        renewed_at: When E*TRADE answered, by its own clock.
        took: How long ago the call was signed. The process may have been stopped, or its machine asleep,
            before it read the answer.

    Raises:
        SignInRequired: Midnight has passed meanwhile, so the session is already over.
        RenewalFailed: The answer was read so late that it no longer means anything.
    """
    expires_at = credentials.expires_at(renewed_at)
    require_unexpired(effort.name, expires_at, renewed_at + took)
    if took >= IDLE_LIMIT:
        effort.last_error = RenewalFailed(
            f"E*TRADE answered the renewal of {effort.name!r}, but this process was stopped meanwhile.",
            credentials=effort.name,
            attempts=effort.calls,
        )
        raise effort.last_error
    if abs(effort.clock_offset) >= SKEW_WARNED:
        run_logger().warning("%s", clock_advice(effort.clock_offset))
    return TokenSession(
        environment=credentials.environment,
        fingerprint=credentials.fingerprint,
        renewed_at=renewed_at,
        idle_at=min(renewed_at + IDLE_LIMIT, expires_at).astimezone(UTC),
        expires_at=expires_at.astimezone(UTC),
        attempts=effort.calls,
    )


def renew_shared(shared: Shared) -> TokenSession:
    """Return the session, renewed now or by another run within the reuse window.

    There is one renewal at a time: later callers wait for the first, and share its result or its failure. A
    refusal ends the record for everybody who shares it.

    Args:
        shared: Whose token to renew, and the time it may take.

    Raises:
        ETradeError: As `renew_session`.
    """
    with shared.turn():
        try:
            with untagged():
                session = _task_for(shared)(shared)
        except ETradeError as error:
            if not _is_this_machines(error):
                shared.note(error)
            raise
        if shared.answer is not None:
            return shared.answer.model_copy(update={"attempts": shared.effort.calls})
        shared.keep(session)
        return session


def _is_this_machines(error: ETradeError) -> bool:
    """Whether a setting or the network of this machine is to blame, which others may have right."""
    return isinstance(error, CredentialsInvalid) or (
        isinstance(error, ConfigurationRefused) and error.status is None
    )


def _task_for(shared: Shared) -> Task[..., TokenSession]:
    """The task `renew-session` with this effort's delays and deadline."""
    effort = shared.effort
    backoff = exponential_backoff(effort.settings.first_backoff.total_seconds())(RETRIES)

    def another_attempt(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
        """Whether to try again; it also sets the delay.

        Prefect asks once after each failure, and reads the delay only afterwards. `task` is this effort's own
        copy, so the delay for the verdict can be set there.
        """
        if not isinstance(state.data, RenewalFailed):
            return False
        delay, jitter = backoff[min(run.run_count, RETRIES) - 1], JITTER
        if state.data.retry_after is not None:
            delay, jitter = state.data.retry_after.total_seconds(), 0.0
        task.retry_delay_seconds = [delay]
        task.retry_jitter_factor = jitter
        goes_on = run.run_count <= RETRIES and delay * (1 + jitter) < effort.remaining()
        if goes_on:
            shared.note(state.data, next_in=delay * (1 + jitter))
        return goes_on

    return renew_session.with_options(retry_condition_fn=another_attempt)


def require_unexpired(name: str, expires_at: datetime, at: datetime) -> None:
    """Raise if the session has ended at `at`.

    Raises:
        SignInRequired: `expires_at` has passed.
    """
    if at >= expires_at:
        raise SignInRequired(
            f"The E*TRADE session of {name!r} ended at {eastern_words(expires_at)}, "
            "and a renewal cannot extend it.",
            advice=sign_in_advice(name),
            credentials=name,
            outcome=Outcome.SIGN_IN_REQUIRED,
            expires_at=expires_at,
        )


def _error_for(verdict: Verdict, reply: RenewalReply, effort: Effort) -> ETradeError:
    """The error for a verdict other than RENEWED."""
    named = verdict.problem or f"status {reply.status_code}"
    facts: dict[str, Any] = {
        "credentials": effort.name,
        "outcome": verdict.outcome,
        "problem": verdict.problem,
        "status": reply.status_code,
        "attempts": effort.calls,
    }

    def failed(why: str) -> RenewalFailed:
        told = [f"Attempt {effort.calls} to renew the session of {effort.name!r} failed.", why]
        return RenewalFailed(
            " ".join(filter(None, [*told, reply.described(), *effort.delays])),
            advice=RenewalFailed.default_advice,  # the message may quote a stranger
            retry_after=effort.wait_for(verdict),
            **facts,
        )

    if effort.doubts(verdict):
        return failed(f"E*TRADE refused it without a reason ({named}).")
    if verdict.outcome is Outcome.SIGN_IN_REQUIRED:
        return SignInRequired(
            f"E*TRADE does not accept the access token of {effort.name!r} ({named}).",
            advice=sign_in_advice(effort.name),
            **facts,
        )
    if verdict.remedy is not None:
        return ConfigurationRefused(
            f"E*TRADE cannot be called to renew {effort.name!r}. {verdict.advice}",
            advice=verdict.remedy,
            **facts,
        )
    if verdict.outcome is Outcome.MISCONFIGURED:
        return ConfigurationRefused(
            f"E*TRADE refused the renewal of {effort.name!r} ({named}). {verdict.advice}",
            advice="correct the credentials or the OAuth address "
            f"(Prefect UI > Blocks > {effort.name} > Edit), or the ETRADE_* variables.",
            **facts,
        )
    return failed(verdict.advice)
