"""Judges how a session stands, by what the stores say about it. Pure, except that it reads the credentials.

Only E*TRADE knows for certain. The stores know when the token was issued, when it was last renewed, and how
the day's runs ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from etrade_flows.health.advice import advice_on
from etrade_flows.health.forecast import NextRun, ScheduledRun, forecast
from etrade_flows.health.model import Problem, Renewal, SessionStatus, Source, Store
from etrade_flows.report.day import Standing, issued_at, session_day, standing
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_flows.runs.endings import describe
from etrade_flows.runs.way_in import WayIn
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ConfigurationRefused, CredentialsInvalid, ETradeError, SignInRequired
from etrade_tasks.key_age import key_warning
from etrade_tasks.oauth.replies import SKEW_WARNED
from etrade_tasks.session import SessionState, TokenSession, midnight_after
from etrade_tasks.words import clock

SHOWN_RENEWALS = 5
"""How many of the last renewals are listed."""


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


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How the session stands, why, and its two clocks as far as they still matter."""

    state: SessionState
    message: str
    idle_at: datetime | None = None
    expires_at: datetime | None = None
    renewed_at: datetime | None = None
    failing: bool = False


def judge(facts: SessionFacts, now: datetime, reuse_window: timedelta) -> SessionStatus:
    """How the session stands at `now`.

    Args:
        facts: What the stores say.
        now: The current time.
        reuse_window: How long a renewal is reused.
    """
    loaded = facts.loaded if isinstance(facts.loaded, ETradeCredentials) else None
    error = next((e for e in (facts.loaded, facts.checked) if isinstance(e, ETradeError)), None)
    renewals = sorted(_renewals(facts), key=lambda renewal: renewal.at, reverse=True)
    verdict = _verdict(facts, renewals, now, reuse_window)
    status = SessionStatus(
        credentials=facts.credentials,
        environment=loaded.environment if loaded else None,
        source=facts.source,
        as_of=now,
        state=verdict.state,
        message=verdict.message,
        signed_in_at=loaded.signed_in_at if loaded else None,
        idle_at=verdict.idle_at,
        idle_in_seconds=_seconds(verdict.idle_at, now),
        expires_at=verdict.expires_at,
        expires_in_seconds=_seconds(verdict.expires_at, now),
        renewals=tuple(renewals[:SHOWN_RENEWALS]),
        next_runs=tuple(_next_runs(facts, verdict, now, reuse_window)),
        key_warning=key_warning(loaded.consumer_key_issued_on, now) if loaded else None,
        error=_problem(error),
        next=None,
    )
    return status.model_copy(update={"next": advice_on(status, facts.way_in, failing=verdict.failing)})


def _next_runs(
    facts: SessionFacts, verdict: _Verdict, now: datetime, reuse_window: timedelta
) -> Iterator[NextRun]:
    wrong_settings = (ConfigurationRefused, CredentialsInvalid)
    return forecast(
        facts.scheduled,
        now,
        renewed_at=verdict.renewed_at,
        over_at=now if verdict.state.needs_sign_in else verdict.expires_at or midnight_after(now),
        reuse_window=reuse_window,
        refused=isinstance(facts.loaded, wrong_settings) or isinstance(facts.checked, wrong_settings),
    )


def _last_record(facts: SessionFacts) -> TokenSession | None:
    """The last renewal of this token whose full result is known."""
    return facts.checked if isinstance(facts.checked, TokenSession) else facts.record


def _renewals(facts: SessionFacts) -> Iterator[Renewal]:
    """Every known attempt, each from one store."""
    same = None
    if record := _last_record(facts):
        store = Store.ETRADE
        if record is facts.record:
            # The record is of the last renewal, so a run that renewed and ended later left it. Clocks may
            # differ.
            since = record.renewed_at - SKEW_WARNED
            renewed = (a for a in facts.attempts if a.outcome is AttemptOutcome.RENEWED and a.at >= since)
            same, store = max(renewed, key=lambda a: a.at, default=None), Store.RESULT_STORAGE
        said = describe(record)
        yield Renewal(at=record.renewed_at, outcome=AttemptOutcome.RENEWED, message=said, store=store)
    for attempt in facts.attempts:
        if attempt is not same:
            yield Renewal(
                at=attempt.at, outcome=attempt.outcome, message=attempt.detail, store=Store.PREFECT_SERVER
            )


def _verdict(
    facts: SessionFacts, renewals: list[Renewal], now: datetime, reuse_window: timedelta
) -> _Verdict:
    loaded, checked = facts.loaded, facts.checked
    if isinstance(loaded, ETradeError):
        return _Verdict(SessionState.FAILED, loaded.message)
    record = _last_record(facts)
    begun = issued_at(loaded, record)
    day = session_day(loaded, now, _attempts(begun, renewals, reuse_window), record)
    stands = standing(day, now)
    verdict = _in_words(stands, day.expires_at)
    if stands.state.needs_sign_in:
        return verdict
    if isinstance(checked, SignInRequired):
        return _Verdict(SessionState.SIGN_IN_REQUIRED, checked.message)
    if isinstance(checked, ETradeError):
        return replace(verdict, state=SessionState.FAILED, message=checked.message)
    if facts.refused:
        # The next caller asks E*TRADE again, and only that answer is certain.
        return _Verdict(SessionState.UNKNOWN, facts.refused.message, expires_at=day.expires_at)
    return verdict


def _in_words(stands: Standing, expires_at: datetime | None) -> _Verdict:
    state, session = stands.state, stands.session
    failed = f"the renewal at {clock(stands.failed.at)} failed" if stands.failed else ""
    if state is SessionState.SIGNED_OUT:
        return _Verdict(state, "nobody is signed in")
    if session and state is SessionState.EXPIRED:
        return _Verdict(state, "its day ended at midnight US Eastern", expires_at=session.expires_at)
    if stands.refusal:
        return _Verdict(state, f"{stands.refusal.detail} ({clock(stands.refusal.at)})")
    if session is None or state not in (SessionState.ACTIVE, SessionState.IDLE):
        message = failed or "no renewal of this token is known"
        return _Verdict(state, message, expires_at=expires_at, failing=bool(failed))
    active = state is SessionState.ACTIVE
    message = f"renewed at {clock(session.last_used_at)}" if active else "the next renewal revives it"
    if failed:
        message = f"{message}, but {failed}"
    limits = (session.idle_at, session.expires_at, session.last_used_at)
    return _Verdict(state, message, *limits, failing=bool(failed))


def _attempts(begun: datetime | None, renewals: list[Renewal], reuse_window: timedelta) -> list[Attempt]:
    """The attempts for the token issued at `begun`, and the renewals that they prove."""
    # Attempts before the sign-in belong to another token.
    attempts = [Attempt(r.at, r.outcome, r.message, None) for r in renewals if not begun or r.at >= begun]
    if not any(a.outcome is AttemptOutcome.RENEWED for a in attempts):
        # Runs that reused a renewal prove that somebody renewed without the server's knowledge. Each such
        # renewal is dated as early as possible, so that no session seems to last longer than it does.
        reused = [a.at - reuse_window for a in attempts if a.outcome is AttemptOutcome.REUSED]
        earliest = [max(at, begun or at) for at in reused]
        attempts += [Attempt(at, AttemptOutcome.RENEWED, "", None) for at in earliest]
    return attempts


def _problem(error: ETradeError | None) -> Problem | None:
    if error is None:
        return None
    return Problem(error=type(error).__name__, message=error.message, advice=error.advice)


def _seconds(at: datetime | None, now: datetime) -> int | None:
    return None if at is None else int((at - now).total_seconds())
