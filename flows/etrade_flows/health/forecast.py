"""Predicts what the scheduled runs of `renew-access-token` will do. Pure: `now` is passed in."""

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
        deployment: The name of its deployment; None if it has none.
        late: Whether it is overdue and nothing has started it.
        work_pool: The work pool where it waits; None if a process serves it.
        force: Whether it renews even if an earlier renewal is still valid.
    """

    at: datetime
    deployment: str | None
    late: bool = False
    work_pool: str | None = None
    force: bool = False


class Action(StrEnum):
    """What a run will do, if nobody acts before."""

    RENEWS = "renews"
    """It renews the token."""
    REUSES = "reuses"
    """An earlier renewal will still be valid; E*TRADE is not called."""
    NEEDS_SIGN_IN = "needs-sign-in"
    """A person must sign in first."""
    FAILS = "fails"
    """The credentials must be corrected first."""


class NextRun(BaseModel):
    """A scheduled run, and what it will do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Instant = Field(description="When the run is due (UTC).")
    in_seconds: int = Field(description="Seconds until then; negative if it is overdue.")
    deployment: str | None = Field(description="The name of its deployment; null if it has none.")
    late: bool = Field(description="Whether it is overdue and nothing has started it.")
    work_pool: str | None = Field(description="The work pool where it waits; null if a process serves it.")
    action: Action = Field(description="`renews`, `reuses`, `needs-sign-in` or `fails`.")
    message: str = Field(description="The same in words.")


def forecast(
    runs: Iterable[ScheduledRun],
    now: datetime,
    *,
    renewed_at: datetime | None,
    over_at: datetime,
    reuse_window: timedelta,
    refused: bool,
) -> Iterator[NextRun]:
    """The next runs in order, and what each will do. Of several late runs, only the first is listed.

    Args:
        runs: The scheduled runs of these credentials.
        now: The current time.
        renewed_at: The last known renewal.
        over_at: When the session ends, or ended.
        reuse_window: How long a renewal is reused.
        refused: Whether a setting is wrong, so that no run can renew.
    """
    for run in _listed(runs):
        at = max(run.at, now)
        if refused:
            action, message = Action.FAILS, "fails until the credentials are corrected"
        elif at >= over_at:
            action, message = Action.NEEDS_SIGN_IN, "needs a sign-in first"
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
