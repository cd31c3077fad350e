"""What the scheduled runs of `renew-access-token` will do to one session. Pure: `now` is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from etrade_tasks.session import Instant
from etrade_tasks.words import clock

SHOWN_RUNS = 3
"""How many of the next runs are listed."""


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run that has not begun.

    Attributes:
        at: When it is due.
        deployment: The name of its deployment; None for a run of none.
        late: Whether it was due some time ago and nothing has taken it.
        work_pool: Where it waits for a worker; None if a process serves it.
        force: Whether it renews although an earlier renewal still answers.
    """

    at: datetime
    deployment: str | None
    late: bool = False
    work_pool: str | None = None
    force: bool = False


class Action(StrEnum):
    """What a run will do, if nobody does anything before."""

    RENEWS = "renews"
    """It renews the token."""
    REUSES = "reuses"
    """An earlier renewal will still answer; E*TRADE is not called."""
    FINDS_SESSION_OVER = "finds-session-over"
    """A person must sign in first."""
    FAILS = "fails"
    """The credentials must be corrected first."""


class NextRun(BaseModel):
    """A scheduled run, and what it will do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Instant = Field(description="When the run is due (UTC).")
    in_seconds: int = Field(description="Seconds until then; negative if it is overdue.")
    deployment: str | None = Field(description="The name of its deployment; null for a run of none.")
    late: bool = Field(description="It was due some time ago, and nothing has taken it.")
    work_pool: str | None = Field(description="Where it waits for a worker; null if a process serves it.")
    action: Action = Field(description="`renews`, `reuses`, `finds-session-over` or `fails`.")
    message: str = Field(description="The same in words.")


def forecast(
    runs: Iterable[ScheduledRun],
    now: datetime,
    *,
    renewed_at: datetime | None,
    over_at: datetime,
    reuse_window: timedelta,
    refused: bool = False,
) -> Iterator[NextRun]:
    """The next runs in order, and what each will do; of many late ones the first stands for all.

    Args:
        runs: The scheduled runs of these credentials.
        now: The moment to judge by.
        renewed_at: The last renewal that is known.
        over_at: When the session is over, or was.
        reuse_window: How long one renewal answers for the next ones.
        refused: Whether a setting is wrong, so that no run can renew.
    """
    for run in _listed(runs):
        at = max(run.at, now)
        if refused:
            action, message = Action.FAILS, "fails until the credentials are corrected"
        elif at >= over_at:
            action, message = Action.FINDS_SESSION_OVER, "finds the session over: a person must sign in"
        elif renewed_at and at < renewed_at + reuse_window and not run.force:
            action, message = Action.REUSES, f"reuses the renewal of {clock(renewed_at)}"
        else:
            action, message, renewed_at = Action.RENEWS, "renews", at
        yield NextRun(
            at=run.at,
            in_seconds=int((run.at - now).total_seconds()),
            deployment=run.deployment,
            late=run.late,
            work_pool=run.work_pool,
            action=action,
            message=message,
        )


def _listed(runs: Iterable[ScheduledRun]) -> tuple[ScheduledRun, ...]:
    in_order = sorted(runs, key=lambda run: run.at)
    late = [run for run in in_order if run.late]
    ahead = [run for run in in_order if not run.late]
    return (*late[:1], *ahead)[:SHOWN_RUNS]
