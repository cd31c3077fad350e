"""The single notification about a fleet, and its words. Pure, except for sending it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from prefect.events import emit_event
from pydantic import BaseModel, ConfigDict, Field

from etrade_flows.news.events import ONCE_LABEL, may_call
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.tags import current_run
from etrade_tasks.errors import ETradeError, SignInRequired, TokensNotRenewed, must_sign_in
from etrade_tasks.session import eastern_date

RESOURCE = "etrade.fleet"
"""The resource of the events."""


class FleetEvent(StrEnum):
    """The names of the events."""

    RENEWED = "etrade.fleet.renewed"
    NOT_RENEWED = "etrade.fleet.not-renewed"


class FleetNews(BaseModel):
    """The payload of an event about a fleet."""

    model_config = ConfigDict(frozen=True)

    event: FleetEvent = Field(exclude=True, description="The event's name; not part of the payload.")
    summary: str = Field(description="How many sessions are good, and how many there are.")
    message: str = Field(description="Who must sign in, and who failed and why.")
    advice: str | None = Field(default=None, description="What a person does next; null if nothing.")
    sign_in: tuple[str, ...] = Field(default=(), description="The credentials to sign in to.")
    failed: dict[str, str] = Field(default={}, description="The error's class, by the credentials' name.")
    eastern_date: str = Field(description="The Eastern date of the event, such as `2027-06-15`.")
    once: str = Field(description="The same for all events that share one alert.")


def alerts_for(errors: Mapping[str, ETradeError], at: datetime) -> dict[str, str]:
    """Each token that needs an alert, and its reason: the day and the kind of error."""
    run = current_run()
    may_sign_in = run is None or may_call(run, at)
    return {
        name: f"{eastern_date(at).isoformat()} {type(error).__name__}"
        for name, error in errors.items()
        if may_sign_in or not isinstance(error, SignInRequired)
    }


def not_renewed_news(
    error: TokensNotRenewed, summary: str, alerts: Mapping[str, str], at: datetime
) -> FleetNews:
    """The alert that names all tokens that need somebody; `once` is the same for the same `alerts`."""
    which = hashlib.sha256("\n".join(sorted(f"{name} {why}" for name, why in alerts.items())).encode())
    day, sign_in = eastern_date(at).isoformat(), dict.fromkeys(must_sign_in(error.errors))
    return FleetNews(
        event=FleetEvent.NOT_RENEWED,
        summary=summary,
        message=error.message,
        advice=error.advice,
        sign_in=tuple(sign_in),
        failed={name: type(each).__name__ for name, each in error.errors.items() if name not in sign_in},
        eastern_date=day,
        once=f"fleet/{day}/{which.hexdigest()[:16]}",
    )


def renewed_news(summary: str, at: datetime) -> FleetNews:
    """The notification that every session of a fleet is good."""
    day = eastern_date(at).isoformat()
    return FleetNews(
        event=FleetEvent.RENEWED,
        summary=summary,
        message=f"{summary}.",
        eastern_date=day,
        once=f"fleet/{day}/renewed",
    )


def emit_fleet(news: FleetNews) -> None:
    """Emit a notification. Does nothing outside a run, or if the server accepts no event."""
    if current_run() is None:
        return
    with best_effort("The event could not be emitted"):
        emit_event(
            news.event.value,
            resource={
                "prefect.resource.id": RESOURCE,
                "prefect.resource.name": "fleet",
                ONCE_LABEL: news.once,
            },
            payload=news.model_dump(mode="json"),
        )
