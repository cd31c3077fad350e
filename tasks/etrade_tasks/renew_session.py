"""The task `renew-session`: one renewal, shared, locked, cached, and tried again where that can help."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
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
from etrade_tasks.errors import ConfigurationRefused, ETradeError, RenewalFailed, SignInRequired
from etrade_tasks.locks import FileLockManager, PatientLockManager, RedisLockManager
from etrade_tasks.logs import run_logger
from etrade_tasks.replies import Outcome, RenewalReply, Verdict, clock_advice
from etrade_tasks.session import IDLE_LIMIT, REUSE_WINDOW, TokenSession, eastern_date, eastern_words
from etrade_tasks.settings import RenewalSettings
from etrade_tasks.sign_request import sign_request

RETRIES = 6
"""How often a failed attempt is followed by another, as long as the deadline allows."""

JITTER = 0.5
"""By how much a delay is varied, so that many runs do not come back all at once."""

LOCK_MARGIN = 10.0
"""Seconds by which a lock with a time to live outlasts the longest call that it guards."""

_AT_ONCE = frozenset({Outcome.NONCE_REFUSED, Outcome.CLOCK_SKEWED})


@dataclass
class Effort:
    """What one renewal may spend, and what its attempts have learned. It holds no secret.

    Prefect hands a retried task the same arguments again, so an attempt leaves here what the next one needs.

    Attributes:
        name: The credentials' name, for messages.
        settings: How long it may take, and where processes meet.
        calls: Calls made to E*TRADE so far; still 0 at the end if an earlier renewal answered.
        clock_offset: What to add to this machine's clock, as E*TRADE taught it.
        last_error: Why the last attempt failed.
    """

    name: str
    settings: RenewalSettings = field(default_factory=RenewalSettings)
    calls: int = 0
    clock_offset: timedelta = timedelta(0)
    last_error: RenewalFailed | None = None
    _started_at: float = field(default_factory=time.monotonic)

    def remaining(self) -> float:
        """Seconds until the deadline; negative past it."""
        return self._started_at + self.settings.deadline.total_seconds() - time.monotonic()

    def now(self) -> datetime:
        """The time by E*TRADE's clock, as far as it is known."""
        return now() + self.clock_offset


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
    result_serializer="json",  # a record that may come from a shared store is never unpickled
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
        raise effort.last_error or _no_time_left(effort)
    expires_at = credentials.expires_at(effort.now())
    require_unexpired(effort.name, expires_at, effort.now())
    effort.calls += 1
    request = sign_request(credentials, effort.clock_offset)
    reply = call_renew(request, limit=min(CALL_LIMIT, timedelta(seconds=max(effort.remaining(), 1))))
    verdict = classify_response(reply)
    if verdict.outcome is not Outcome.RENEWED:
        raise _error_for(verdict, reply, effort)
    # The call may have been under way at midnight: then what it renewed is over already.
    require_unexpired(effort.name, expires_at, reply.received_at + effort.clock_offset)
    if effort.clock_offset:
        run_logger().warning("%s", clock_advice(effort.clock_offset))
    return TokenSession(
        environment=credentials.environment,
        fingerprint=credentials.fingerprint,
        renewed_at=reply.received_at,
        idle_at=reply.received_at + IDLE_LIMIT,
        expires_at=expires_at.astimezone(UTC),
        attempts=effort.calls,
    )


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
    session = configured(effort, force=force)(credentials, effort)
    if effort.calls == 0 and not _vouches(session, credentials):
        # Somebody else's file under our key, or one of another version: it counts as no record.
        session = configured(effort, force=True)(credentials, effort)
    return session if effort.calls else session.model_copy(update={"reused": True, "attempts": 0})


def configured(effort: Effort, *, force: bool = False) -> Task[..., TokenSession]:
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
        cache_policy=policy.configure(isolation_level="SERIALIZABLE", lock_manager=lock_manager(effort)),
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
            "and a renewal cannot extend it."
        )


def _vouches(session: object, credentials: ETradeCredentials) -> bool:
    """Whether a record that was read back is a session of these credentials that still lasts."""
    return (
        isinstance(session, TokenSession)
        and session.fingerprint == credentials.fingerprint
        and session.environment == credentials.environment
        and now() < session.expires_at
    )


def lock_manager(effort: Effort) -> PatientLockManager:
    """Where this effort's processes meet: in Redis if the settings name one, else in lock files."""
    settings = effort.settings
    if settings.lock_redis_url is None:
        return FileLockManager(settings.lock_directory, patience=effort.remaining)
    return RedisLockManager(
        settings.lock_redis_url.get_secret_value(),
        patience=effort.remaining,
        time_to_live=CALL_LIMIT.total_seconds() + LOCK_MARGIN,
    )


def _error_for(verdict: Verdict, reply: RenewalReply, effort: Effort) -> ETradeError:
    """The error that a verdict other than RENEWED calls for, with what the next attempt needs noted."""
    block = f"(Prefect UI > Blocks > {effort.name} > Edit)"
    named = verdict.problem or f"status {reply.status_code}"
    if verdict.outcome is Outcome.SIGN_IN_REQUIRED:
        return SignInRequired(f"E*TRADE does not accept the access token of {effort.name!r} ({named}).")
    if verdict.outcome is Outcome.MISCONFIGURED:
        return ConfigurationRefused(
            f"E*TRADE refused the renewal of {effort.name!r} ({named}). {verdict.advice}",
            advice=f"correct the credentials or the OAuth address {block}, or the ETRADE_* variables.",
        )
    retry_after = verdict.retry_after
    if verdict.outcome in _AT_ONCE:
        retry_after = timedelta(0)
        effort.clock_offset = verdict.clock_offset or effort.clock_offset
    effort.last_error = RenewalFailed(
        f"Attempt {effort.calls} to renew the session of {effort.name!r} failed. {verdict.advice} "
        f"{_describe(reply, verdict)}".rstrip(),
        retry_after=retry_after,
    )
    return effort.last_error


def _describe(reply: RenewalReply, verdict: Verdict) -> str:
    if reply.status_code is None:
        return ""
    kind = reply.header("Content-Type").partition(";")[0] or "no content type"
    said = f": {verdict.excerpt!r}" if verdict.excerpt else ", empty"
    return f"It answered: status {reply.status_code}, {kind}{said}."


def _no_time_left(effort: Effort) -> RenewalFailed:
    return RenewalFailed(
        f"The session of {effort.name!r} was not renewed: another run has been renewing it for "
        f"{effort.settings.deadline.total_seconds():.0f} s and has not come to an end."
    )
