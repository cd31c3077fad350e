"""The results of a fleet's tokens, during the run and at its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from etrade_flows.report.markdown import shortened
from etrade_flows.runs.attempts import attempt_outcome
from etrade_flows.runs.endings import describe
from etrade_tasks.errors import ETradeError, SignInRequired, must_sign_in
from etrade_tasks.oauth.redaction import visible
from etrade_tasks.session import TokenSession
from etrade_tasks.words import clock

Outcome = TokenSession | ETradeError

_SIGN_IN, _FAILED, _GOOD, _WAITS = range(4)
_SIGNS = {_SIGN_IN: "⛔", _FAILED: "❌", _GOOD: "✅", _WAITS: "…"}


@dataclass
class Tally:
    """The result of each token so far. It holds no secret.

    Attributes:
        names: All credentials of the fleet.
        outcomes: The results of the renewals that have ended.
        ended_at: When each ended.
    """

    names: tuple[str, ...]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ended_at: dict[str, datetime] = field(default_factory=dict)

    def settle(self, name: str, outcome: Outcome, at: datetime) -> None:
        """Note a token's result at `at`."""
        self.outcomes[name], self.ended_at[name] = outcome, at

    @property
    def sessions(self) -> dict[str, TokenSession]:
        """The sessions that are good."""
        return {name: each for name, each in self.outcomes.items() if isinstance(each, TokenSession)}

    @property
    def errors(self) -> dict[str, ETradeError]:
        """Why the others are not good, sorted by name."""
        return {name: e for name, e in sorted(self.outcomes.items()) if isinstance(e, ETradeError)}

    @property
    def progress(self) -> float:
        """How much of the fleet is done, in percent."""
        return 100 * len(self.outcomes) / len(self.names)

    @property
    def summary(self) -> str:
        """How many sessions are good, such as `1,998 of 2,000 sessions are good`."""
        good, of = len(self.sessions), len(self.names)
        return f"{good:,} of {of:,} {'session is' if of == 1 else 'sessions are'} good"

    def headline(self) -> str:
        """How the fleet stands, in one line."""
        left = len(self.names) - len(self.outcomes)
        sign = "…" if left else "⚠️" if self.errors else "✅"
        return f"{sign} {self.summary}" + (f", {left:,} to go" if left else "")

    def rows(self) -> list[dict[str, str]]:
        """A row for each token: first those that need somebody, last those that are waiting."""
        ordered = sorted(self.names, key=lambda name: (_rank(self.outcomes.get(name)), name))
        return [self._row(name) for name in ordered]

    def _row(self, name: str) -> dict[str, str]:
        outcome = self.outcomes.get(name)
        sign = _SIGNS[_rank(outcome)]
        if outcome is None:
            return _cells(name, f"{sign} waiting", "", "", "")
        said = describe(outcome) if isinstance(outcome, TokenSession) else outcome.message
        next_step = "" if isinstance(outcome, TokenSession) else outcome.advice
        at, word = clock(self.ended_at[name]), f"{sign} {attempt_outcome(outcome)}"
        return _cells(name, word, at, shortened(visible(said)), shortened(visible(next_step)))


def _cells(name: str, outcome: str, at: str, said: str, next_step: str) -> dict[str, str]:
    return {"account": name, "outcome": outcome, "Eastern": at, "what happened": said, "next": next_step}


def _rank(outcome: Outcome | None) -> int:
    match outcome:
        case None:
            return _WAITS
        case TokenSession():
            return _GOOD
        case SignInRequired():
            return _SIGN_IN
        case _:
            return _FAILED


def _cause(error: ETradeError) -> str:
    """Why a renewal failed, in a few words, such as `RenewalFailed (status 503)`."""
    fact = error.problem or (f"status {error.status}" if error.status else None)
    return f"{type(error).__name__} ({fact})" if fact else type(error).__name__


def troubles(errors: Mapping[str, ETradeError]) -> str:
    """Who must sign in, and who failed and why, in one sentence each, with every name."""
    found: dict[str, list[str]] = {}
    if due := must_sign_in(errors):
        found["Sign in"] = list(due)
    for name, error in errors.items():
        if not isinstance(error, SignInRequired):
            found.setdefault(_cause(error), []).append(name)
    return " ".join(f"{why}: {', '.join(names)}." for why, names in found.items())
