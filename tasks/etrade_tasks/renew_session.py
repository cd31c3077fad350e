"""The task `renew-session`: one renewal, shared, locked, cached, and tried again where that can help."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Task, task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import exponential_backoff

from etrade_tasks.call_renew import CALL_LIMIT, call_renew
from etrade_tasks.classify_response import classify_response
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import (
    ConfigurationRefused,
    ETradeError,
    RenewalFailed,
    SignInRequired,
    sign_in_advice,
)
from etrade_tasks.logs import run_logger
from etrade_tasks.replies import SKEW_WARNED, Outcome, RenewalReply, Verdict, clock_advice
from etrade_tasks.session import IDLE_LIMIT, REUSE_WINDOW, TokenSession, eastern_date, eastern_words
from etrade_tasks.sharing.effort import Effort
from etrade_tasks.sign_request import sign_request

RETRIES = 6
"""How often a failed attempt is followed by another, as long as the deadline allows."""

JITTER = 0.5
"""By how much a delay is varied, so that many runs do not come back all at once."""

_AT_ONCE = frozenset({Outcome.NONCE_REFUSED, Outcome.CLOCK_SKEWED})


def cache_key(_: TaskRunContext | None, parameters: dict[str, Any]) -> str:
    """The key of the record that a renewal leaves, as Prefect asks for it."""
    return record_key(parameters["credentials"], now())


def record_key(credentials: ETradeCredentials, at: datetime) -> str:
    """What one renewal vouches for: this token, in this environment, on the Eastern day of `at`.

    The day makes midnight end the record exactly. Prefect stores the key in its database, its events and the
    record's file name, and it hashes every `SecretStr` alike, so the key is made from the fingerprint.
    """
    return f"etrade-session-{credentials.environment}-{credentials.fingerprint}-{eastern_date(at)}"


@task(
    name="renew-session",
    description="Renews the session once for all who ask within the reuse window.",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=cache_key),
    cache_expiration=REUSE_WINDOW,
    persist_result=True,
    result_serializer="json",  # a pickle would tie the record to one version of this package
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(1),
    retry_jitter_factor=JITTER,
)
def renew_session(credentials: ETradeCredentials, effort: Effort) -> TokenSession:
    """The session after one attempt to renew it: sign, call, classify.

    Prefect runs the body once an attempt, so every attempt has a nonce and a timestamp of its own: a retried
    nonce is refused as a replay, a timestamp older than five minutes as stale.

    Args:
        credentials: Whose token to renew.
        effort: What may be spent; carries what an attempt learns to the next.

    Raises:
        SignInRequired: The token is past its midnight, or E*TRADE says it is dead.
        ConfigurationRefused: A key, a secret or an address is wrong.
        RenewalFailed: Anything that another attempt may mend.
    """
    if effort.remaining() <= 0:
        raise effort.out_of_time()
    expires_at = credentials.expires_at(effort.now())
    require_unexpired(effort.name, expires_at, effort.now())
    effort.calls += 1
    request = sign_request(credentials, effort.clock_offset)
    reply = call_renew(request, limit=min(CALL_LIMIT, timedelta(seconds=max(effort.remaining(), 1))))
    verdict = classify_response(reply)
    if verdict.outcome is not Outcome.RENEWED:
        error = _error_for(verdict, reply, effort)
        effort.learn(verdict, error)
        raise error
    # The call may have been under way at midnight: then what it renewed is over already.
    require_unexpired(effort.name, expires_at, reply.received_at + effort.clock_offset)
    if abs(effort.clock_offset) >= SKEW_WARNED:
        run_logger().warning("%s", clock_advice(effort.clock_offset))
    effort.renewed = TokenSession(
        environment=credentials.environment,
        fingerprint=credentials.fingerprint,
        renewed_at=reply.received_at,
        idle_at=reply.received_at + IDLE_LIMIT,
        expires_at=expires_at.astimezone(UTC),
        attempts=effort.calls,
    )
    return effort.renewed


def renew_shared(credentials: ETradeCredentials, effort: Effort, *, force: bool = False) -> TokenSession:
    """The session, renewed now or vouched for by a renewal within the reuse window.

    One renewal at a time: whoever comes second waits for the first, and takes its result.

    Args:
        credentials: Whose token to renew.
        effort: What may be spent.
        force: Renew although an earlier renewal still vouches.

    Raises:
        ETradeError: As `renew_session`.
    """
    session = task_for(effort, force=force)(credentials, effort)
    if effort.renewed is None and not _vouches(session, credentials):
        # Somebody else's file under our key, or one of another version: it counts as no record.
        session = task_for(effort, force=True)(credentials, effort)
    return effort.renewed or session.model_copy(update={"reused": True, "attempts": effort.calls})


def task_for(effort: Effort, *, force: bool = False) -> Task[..., TokenSession]:
    """The task `renew-session` with this effort's locks, delays and deadline."""
    settings = effort.settings
    backoff = exponential_backoff(settings.first_backoff.total_seconds())(RETRIES)

    def another_attempt(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
        """Whether to try again, and after how long.

        Prefect 3.8 asks once a failure, when the lock is free already, and reads the delay only after the
        answer. `task` is this effort's own copy, so the delay that fits the verdict is put there.
        """
        if not isinstance(state.data, RenewalFailed):
            return False
        delay, jitter = backoff[min(run.run_count, RETRIES) - 1], JITTER
        if state.data.retry_after is not None:
            delay, jitter = state.data.retry_after.total_seconds(), 0.0
        task.retry_delay_seconds = [delay]
        task.retry_jitter_factor = jitter
        return delay * (1 + jitter) < effort.remaining()

    policy = CacheKeyFnPolicy(cache_key_fn=cache_key)
    task = renew_session.with_options(
        cache_policy=policy.configure(isolation_level="SERIALIZABLE", lock_manager=effort.lock_manager()),
        cache_expiration=settings.reuse_window,
        retry_condition_fn=another_attempt,
    )
    if force:  # else Prefect's own setting decides
        task.refresh_cache = True
    return task


def require_unexpired(name: str, expires_at: datetime, at: datetime) -> None:
    """Refuse a session that is over.

    Raises:
        SignInRequired: `at` is not before `expires_at`.
    """
    if at >= expires_at:
        raise SignInRequired(
            f"The E*TRADE session of {name!r} ended at {eastern_words(expires_at)}, "
            "and a renewal cannot extend it.",
            advice=sign_in_advice(name),
        )


def _vouches(session: object, credentials: ETradeCredentials) -> bool:
    """Whether a record that was read back is a session of these credentials that still lasts."""
    return (
        isinstance(session, TokenSession)
        and session.fingerprint == credentials.fingerprint
        and session.environment == credentials.environment
        and now() < session.expires_at
    )


def _error_for(verdict: Verdict, reply: RenewalReply, effort: Effort) -> ETradeError:
    """The error that a verdict other than RENEWED calls for."""
    named = verdict.problem or f"status {reply.status_code}"
    if verdict.outcome is Outcome.SIGN_IN_REQUIRED:
        return SignInRequired(
            f"E*TRADE does not accept the access token of {effort.name!r} ({named}).",
            advice=sign_in_advice(effort.name),
        )
    if verdict.outcome is Outcome.MISCONFIGURED:
        return ConfigurationRefused(
            f"E*TRADE refused the renewal of {effort.name!r} ({named}). {verdict.advice}",
            advice="correct the credentials or the OAuth address "
            f"(Prefect UI > Blocks > {effort.name} > Edit), or the ETRADE_* variables.",
        )
    return RenewalFailed(
        f"Attempt {effort.calls} to renew the session of {effort.name!r} failed. {verdict.advice} "
        f"{_describe(reply, verdict)}".rstrip(),
        advice=RenewalFailed.default_advice,  # the message may quote a stranger
        retry_after=timedelta(0) if verdict.outcome in _AT_ONCE else verdict.retry_after,
    )


def _describe(reply: RenewalReply, verdict: Verdict) -> str:
    if reply.status_code is None:
        return ""
    kind = reply.header("Content-Type").partition(";")[0] or "no content type"
    said = f": {verdict.excerpt!r}" if verdict.excerpt else ", empty"
    return f"It answered: status {reply.status_code}, {kind}{said}."
