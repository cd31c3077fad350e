"""How a session stands, judged by what the stores say of it. Pure but for what the credentials hold.

Nobody but E*TRADE knows for sure. What is known here is when the token was issued, when it was last renewed,
and what the day's runs came to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from etrade_flows.report.day import (
    KnownSession,
    SessionDay,
    in_order,
    is_refusal,
    known_session,
)
from etrade_flows.runs.attempts import Attempt, AttemptOutcome
from etrade_flows.runs.endings import describe
from etrade_flows.status.advice import advice_on
from etrade_flows.status.forecast import NextRun, ScheduledRun, forecast
from etrade_flows.status.model import Problem, Renewal, SessionStatus, Source, State, Store
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import ConfigurationRefused, CredentialsInvalid, ETradeError, SignInRequired
from etrade_tasks.key_age import key_warning
from etrade_tasks.session import TokenSession, in_utc, midnight_after
from etrade_tasks.words import clock

SHOWN_RENEWALS = 5
"""How many of the last renewals are told of."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What the stores say of one session.

    Attributes:
        credentials: The credentials' name.
        source: Where they come from.
        loaded: The credentials themselves, or why they cannot be used.
        record: The renewal that result storage holds of this very token.
        attempts: What the day's runs came to, in any order.
        scheduled: The runs that have not begun.
        checked: What E*TRADE was asked just now, and said; None if it was not asked.
    """

    credentials: str
    source: Source
    loaded: ETradeCredentials | ETradeError = field(repr=False)
    record: TokenSession | None = None
    attempts: tuple[Attempt, ...] = ()
    scheduled: tuple[ScheduledRun, ...] = ()
    checked: TokenSession | ETradeError | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The state, why it is so, and the clocks as far as they count in that state."""

    state: State
    message: str
    idle_at: datetime | None = None
    expires_at: datetime | None = None
    renewed_at: datetime | None = None
    failing: bool = False


def judge(facts: SessionFacts, now: datetime, reuse_window: timedelta) -> SessionStatus:
    """How the session stands at `now`.

    Args:
        facts: What the stores say.
        now: The moment to judge by.
        reuse_window: How long one renewal answers for the next ones.
    """
    loaded = facts.loaded if isinstance(facts.loaded, ETradeCredentials) else None
    error = next((e for e in (facts.loaded, facts.checked) if isinstance(e, ETradeError)), None)
    renewals = sorted(_renewals(facts), key=lambda renewal: renewal.at, reverse=True)
    verdict = _verdict(facts, renewals, now, reuse_window)
    warning = key_warning(loaded.consumer_key_issued_on, now) if loaded else None
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
        key_warning=warning,
        error=_problem(error),
        next=None,
    )
    return status.model_copy(update={"next": advice_on(status, failing=verdict.failing)})


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
    """The last renewal of this very token that is known whole."""
    return facts.checked if isinstance(facts.checked, TokenSession) else facts.record


def _renewals(facts: SessionFacts) -> Iterator[Renewal]:
    """Every attempt that is known, each from one store."""
    same = None
    if record := _last_record(facts):
        said, store = describe(record), Store.ETRADE
        if record is facts.record:
            # The run that left the record says the same of it.
            alike = [a for a in facts.attempts if (a.outcome, a.detail) == (AttemptOutcome.RENEWED, said)]
            same, store = max(alike, key=lambda a: a.at, default=None), Store.RESULT_STORAGE
        yield Renewal(at=record.renewed_at, outcome=AttemptOutcome.RENEWED, message=said, store=store)
    for attempt in facts.attempts:
        if attempt is not same:
            yield Renewal(
                at=attempt.at, outcome=attempt.outcome, message=attempt.detail, store=Store.PREFECT_SERVER
            )


def _verdict(
    facts: SessionFacts, renewals: list[Renewal], now: datetime, reuse_window: timedelta
) -> _Verdict:
    loaded = facts.loaded
    if isinstance(loaded, ETradeError):
        return _Verdict(State.FAILED, loaded.message)
    if loaded.access_token is None:
        return _Verdict(State.SIGNED_OUT, "nobody is signed in")
    day = _day(facts, loaded, renewals, reuse_window)
    if day.expires_at is not None and now >= day.expires_at:
        return _Verdict(State.EXPIRED, "its day ended at midnight US Eastern", expires_at=day.expires_at)
    if isinstance(facts.checked, SignInRequired):
        return _Verdict(State.SIGN_IN_REQUIRED, facts.checked.message)
    verdict = _by_the_day(day, now)
    if isinstance(facts.checked, ETradeError):
        return replace(verdict, state=State.FAILED, message=facts.checked.message)
    return verdict


def _by_the_day(day: SessionDay, now: datetime) -> _Verdict:
    """The verdict on a token whose midnight is ahead, by what its day's attempts came to."""
    session = known_session(day)
    since = [a for a in in_order(day) if session is None or in_utc(a.at) > session.last_used_at]
    if refusals := [a for a in since if is_refusal(a)]:
        return _Verdict(State.SIGN_IN_REQUIRED, f"{refusals[0].detail} ({clock(refusals[0].at)})")
    failed = since[-1] if since and since[-1].outcome is AttemptOutcome.FAILED else None
    return _live(day, session, failed, now)


def _live(day: SessionDay, session: KnownSession | None, failed: Attempt | None, now: datetime) -> _Verdict:
    """The verdict on a token that nobody is known to have refused."""
    said = f"the renewal at {clock(failed.at)} failed" if failed else ""
    if session is None or not _is_renewed(day):
        state = State.FAILED if failed else State.UNKNOWN
        message = said or "no renewal of this token is known"
        return _Verdict(state, message, expires_at=day.expires_at, failing=bool(failed))
    state, message = State.ACTIVE, f"renewed at {clock(session.last_used_at)}"
    if now >= session.idle_at:
        state, message = State.INACTIVE, "the next renewal revives it"
    return _Verdict(
        state,
        f"{message}, but {said}" if said else message,
        session.idle_at,
        session.expires_at,
        session.last_used_at,
        failing=bool(failed),
    )


def _is_renewed(day: SessionDay) -> bool:
    """Whether a renewal of this token is known."""
    return day.renewed_at is not None or any(a.outcome is AttemptOutcome.RENEWED for a in day.attempts)


def _day(
    facts: SessionFacts, loaded: ETradeCredentials, renewals: list[Renewal], reuse_window: timedelta
) -> SessionDay:
    record = _last_record(facts)
    midnight = record.expires_at if record else None
    if loaded.signed_in_at is not None:
        midnight = midnight_after(loaded.signed_in_at)
    begun = loaded.signed_in_at
    # What came before the sign-in was another token's.
    attempts = [Attempt(r.at, r.outcome, r.message, None) for r in renewals if not begun or r.at >= begun]
    if record is None and not any(a.outcome is AttemptOutcome.RENEWED for a in attempts):
        attempts += _renewals_behind(attempts, begun, reuse_window)
    return SessionDay(
        signed_in_at=loaded.signed_in_at,
        renewed_at=record.renewed_at if record else None,
        idle_at=None,
        expires_at=midnight,
        attempts=tuple(attempts),
        advice=None,
    )


def _renewals_behind(
    attempts: list[Attempt], begun: datetime | None, reuse_window: timedelta
) -> list[Attempt]:
    """The renewals that others made out of the server's sight, as the runs that reused them prove.

    Each is dated as early as it can be, so that no session is taken to last longer than it does.
    """
    reused = [a for a in attempts if a.outcome is AttemptOutcome.REUSED]
    earliest = [max(a.at - reuse_window, begun or a.at - reuse_window) for a in reused]
    return [Attempt(at, AttemptOutcome.RENEWED, "", None) for at in earliest]


def _problem(error: ETradeError | None) -> Problem | None:
    if error is None:
        return None
    return Problem(error=type(error).__name__, message=error.message, advice=error.advice)


def _seconds(at: datetime | None, now: datetime) -> int | None:
    return None if at is None else int((at - now).total_seconds())
