"""What `etrade-session status` says about a session. Its JSON is these models; never change their keys."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from etrade_flows.health.forecast import NextRun
from etrade_flows.runs.attempts import AttemptOutcome
from etrade_tasks.session import Instant, SessionState


class Source(StrEnum):
    """Where credentials come from."""

    BLOCK = "block"
    """The Prefect block of that name."""
    ENVIRONMENT = "environment"
    """The `ETRADE_*` variables."""


class Store(StrEnum):
    """The store that knows about a renewal."""

    RESULT_STORAGE = "result storage"
    """The record of the last renewal, in Prefect's result storage."""
    PREFECT_SERVER = "Prefect server"
    """The runs of the flow `renew-access-token`."""
    ETRADE = "E*TRADE"
    """A renewal that `--check` made."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Renewal(_Model):
    """One attempt to renew, and the store that knows about it."""

    at: Instant = Field(description="When it ended (UTC).")
    outcome: AttemptOutcome = Field(
        description="`renewed`, `reused`, `sign-in required`, `failed` or `too short`."
    )
    message: str = Field(description="How it went, in words.")
    store: Store = Field(description="`result storage`, `Prefect server` or, after --check, `E*TRADE`.")


class Problem(_Model):
    """What went wrong when the status was looked up."""

    error: str = Field(description="The name of the error, as in the README.")
    message: str = Field(description="What happened.")
    advice: str = Field(description="What a person does next.")


class SessionStatus(_Model):
    """How the session of one credentials name stands, what comes next, and what a person has to do."""

    credentials: str = Field(description="The credentials' name.")
    environment: str | None = Field(description="`live` or `sandbox`; null if the credentials are unusable.")
    source: Source = Field(description="Where the credentials come from: `block` or `environment`.")
    as_of: Instant = Field(description="The time of this status (UTC).")
    state: SessionState = Field(
        description="`active`, `idle`, `expired`, `signed-out`, `sign-in-required`, `failed`, `unknown`."
    )
    message: str = Field(description="The reason for the state, in words.")
    signed_in_at: Instant | None = Field(description="When the token was issued (UTC); null if not known.")
    idle_at: Instant | None = Field(
        description="When the token goes idle unless it is renewed, or went idle (UTC); null if not known."
    )
    idle_in_seconds: int | None = Field(description="Seconds until `idle_at`; negative once it has passed.")
    expires_at: Instant | None = Field(
        description="The midnight US Eastern that ends or ended the session (UTC); null if not known."
    )
    expires_in_seconds: int | None = Field(
        description="Seconds until `expires_at`; negative once it has passed."
    )
    renewals: tuple[Renewal, ...] = Field(description="The last renewals, at most five, newest first.")
    next_runs: tuple[NextRun, ...] = Field(
        description="The next scheduled runs of `renew-access-token`, at most three, in order."
    )
    key_warning: str | None = Field(description="A warning about the consumer key's age; else null.")
    error: Problem | None = Field(
        description="Why the credentials cannot be used, or why --check failed; else null."
    )
    next: str | None = Field(description="What a person does next; null if there is nothing to do.")


class StatusReport(_Model):
    """The requested sessions by name: what `--json` prints."""

    sessions: tuple[SessionStatus, ...] = Field(description="One for each credentials name.")
