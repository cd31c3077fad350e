"""Judges how a session stands, and what a person does about it. Pure, except that it reads the credentials.

Only E*TRADE knows for certain. The stores know when the token was issued, when it was last renewed, and how
the day's runs ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from etrade_flows.health.forecast import ScheduledRun, forecast
from etrade_flows.health.model import Problem, Renewal, SessionStatus, Source, Store
from etrade_flows.report.day import Standing, explain, issued_at, session_day, standing
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_flows.runs.endings import describe
from etrade_flows.runs.way_in import WayIn
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ConfigurationRefused, CredentialsInvalid, ETradeError, SignInRequired
from etrade_tasks.key_age import KEY_ADVICE, key_warning
from etrade_tasks.oauth.replies import SKEW_WARNED
from etrade_tasks.session import SessionState, TokenSession, midnight_after
from etrade_tasks.words import clock

SHOWN_RENEWALS = 5
"""How many of the last renewals are listed."""

_IDLE_COUNTS = (SessionState.ACTIVE, SessionState.IDLE, SessionState.FAILED)
"""The states in which the time to idle still counts, if a renewal is known."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What the stores say about one session.

    Attributes:
        credentials: The credentials' name.
        source: Where they come from.
        loaded: The credentials themselves, or why they cannot be used.
        record: This token's renewal in the result storage.
        refused: Why no renewal is recorded any more: E*TRADE's last refusal of the token.
        attempts: The results of the day's runs, in any order.
        scheduled: The runs that have not begun.
        checked: E*TRADE's answer to a renewal made just now; None if it was not asked.
        way_in: Where a person signs in in the Prefect UI; None if no run does that.
    """

    credentials: str
    source: Source
    loaded: ETradeCredentials | ETradeError = field(repr=False)
    record: TokenSession | None = None
    refused: SignInRequired | None = None
    attempts: tuple[Attempt, ...] = ()
    scheduled: tuple[ScheduledRun, ...] = ()
    checked: TokenSession | ETradeError | None = None
    way_in: WayIn | None = None


def judge(facts: SessionFacts, now: datetime, reuse_window: timedelta) -> SessionStatus:
    """How the session stands at `now`.

    Args:
        facts: What the stores say.
        now: The current time.
        reuse_window: How long a renewal is reused.
    """
    loaded = facts.loaded if isinstance(facts.loaded, ETradeCredentials) else None
    error = next((e for e in (facts.loaded, facts.checked) if isinstance(e, ETradeError)), None)
    runs = _other_runs(facts)
    stands, message = _standing(facts, runs, now, reuse_window)
    state = stands.state
    session = None if state in (SessionState.SIGNED_OUT, SessionState.SIGN_IN_REQUIRED) else stands.session
    renewed = session if session and session.renewed_at and state in _IDLE_COUNTS else None
    idle_at = renewed.idle_at if renewed else None
    expires_at = session.expires_at if session else None
    next_runs = forecast(
        facts.scheduled,
        now,
        renewed_at=renewed.renewed_at if renewed else None,
        over_at=now if state.needs_sign_in else expires_at or midnight_after(now),
        reuse_window=reuse_window,
        refused=isinstance(error, (ConfigurationRefused, CredentialsInvalid)),
    )
    status = SessionStatus(
        credentials=facts.credentials,
        environment=loaded.environment if loaded else None,
        source=facts.source,
        as_of=now,
        state=state,
        message=message,
        signed_in_at=loaded.signed_in_at if loaded else None,
        idle_at=idle_at,
        idle_in_seconds=_seconds(idle_at, now),
        expires_at=expires_at,
        expires_in_seconds=_seconds(expires_at, now),
        renewals=tuple(sorted(_renewals(facts, runs), key=lambda one: one.at, reverse=True)[:SHOWN_RENEWALS]),
        next_runs=tuple(next_runs),
        key_warning=key_warning(loaded.consumer_key_issued_on, now) if loaded else None,
        error=_problem(error),
        next=None,
    )
    return status.model_copy(update={"next": _advice(status, facts.way_in, failing=bool(stands.failed))})


def _last_record(facts: SessionFacts) -> TokenSession | None:
    """The last renewal of this token whose full result is known."""
    return facts.checked if isinstance(facts.checked, TokenSession) else facts.record


def _other_runs(facts: SessionFacts) -> tuple[Attempt, ...]:
    """The attempts without the run that left the record, which is more exact."""
    record = _last_record(facts)
    if record is None or record is facts.checked:
        return facts.attempts
    # The record is of the last renewal, so a run that renewed and ended later left it. Clocks may differ.
    since = record.renewed_at - SKEW_WARNED
    renewed = (a for a in facts.attempts if a.outcome is AttemptOutcome.RENEWED and a.at >= since)
    left_it = max(renewed, key=lambda a: a.at, default=None)
    return tuple(a for a in facts.attempts if a is not left_it)


def _renewals(facts: SessionFacts, runs: Sequence[Attempt]) -> Iterator[Renewal]:
    """Every known attempt, each from one store."""
    if record := _last_record(facts):
        store = Store.ETRADE if record is facts.checked else Store.RESULT_STORAGE
        said = describe(record)
        yield Renewal(at=record.renewed_at, outcome=AttemptOutcome.RENEWED, message=said, store=store)
    for run in runs:
        yield Renewal(at=run.at, outcome=run.outcome, message=run.detail, store=Store.PREFECT_SERVER)


def _standing(
    facts: SessionFacts, runs: Sequence[Attempt], now: datetime, reuse_window: timedelta
) -> tuple[Standing, str]:
    """How the session stands, and why or until when."""
    loaded, checked, record = facts.loaded, facts.checked, _last_record(facts)
    if isinstance(loaded, ETradeError):
        return Standing(SessionState.FAILED, None), loaded.message
    proven = _proven(runs, issued_at(loaded, record), reuse_window) if record is None else ()
    stands = standing(session_day(loaded, now, (*runs, *proven), record), now)
    if stands.state.needs_sign_in:
        return stands, explain(stands, now)
    if isinstance(checked, SignInRequired):
        return Standing(SessionState.SIGN_IN_REQUIRED, None), checked.message
    if isinstance(checked, ETradeError):
        return replace(stands, state=SessionState.FAILED), checked.message
    if facts.refused:
        # The next caller asks E*TRADE again, and only that answer is certain.
        return replace(stands, state=SessionState.UNKNOWN), facts.refused.message
    failed = f"the renewal at {clock(stands.failed.at)} failed; " if stands.failed else ""
    return stands, failed + explain(stands, now)


def _proven(runs: Sequence[Attempt], begun: datetime | None, reuse_window: timedelta) -> list[Attempt]:
    """The renewals of the token issued at `begun` that only the runs that reused them prove.

    Each is dated as early as possible, so that no session seems to last longer than it does.
    """
    # Runs before the sign-in belong to another token.
    since = [run for run in runs if not begun or run.at >= begun]
    if any(run.outcome is AttemptOutcome.RENEWED for run in since):
        return []
    reused = [run.at - reuse_window for run in since if run.outcome is AttemptOutcome.REUSED]
    return [Attempt(max(at, begun or at), AttemptOutcome.RENEWED, "", None) for at in reused]


def _problem(error: ETradeError | None) -> Problem | None:
    if error is None:
        return None
    return Problem(error=type(error).__name__, message=error.message, advice=error.advice)


def _seconds(at: datetime | None, now: datetime) -> int | None:
    return None if at is None else int((at - now).total_seconds())


def _advice(status: SessionStatus, way_in: WayIn | None, *, failing: bool) -> str | None:
    """What a person does next; None if there is nothing to do."""
    if status.state.needs_sign_in:
        return _sign_in(status, way_in)
    if status.error is not None:
        return status.error.advice
    if status.state is SessionState.UNKNOWN:
        return f"run `etrade-session status --credentials {status.credentials} --check`, which asks E*TRADE."
    renew = f"run `etrade-session renew --credentials {status.credentials}`"
    if failing:
        return f"{renew}, which says what is wrong."
    if status.state is SessionState.IDLE:
        return f"{renew}{', or wait for the next run' if status.next_runs else ''}."
    return _while_active(status)


def _while_active(status: SessionStatus) -> str | None:
    late = next((run for run in status.next_runs if run.late), None)
    if late is None:
        return KEY_ADVICE if status.key_warning else None
    if late.work_pool is None:
        return f"start the process that serves the deployment {late.deployment!r}."
    return f"start a worker: `prefect worker start --pool {late.work_pool}`."


def _sign_in(status: SessionStatus, way_in: WayIn | None) -> str:
    if status.source is Source.ENVIRONMENT:
        return (
            "sign in at E*TRADE, and set ETRADE_ACCESS_TOKEN, ETRADE_ACCESS_TOKEN_SECRET and "
            "ETRADE_SIGNED_IN_AT again."
        )
    if way_in is not None:
        return way_in.advice(status.credentials)
    return f"sign in at E*TRADE: run `etrade-session login --credentials {status.credentials}`."
