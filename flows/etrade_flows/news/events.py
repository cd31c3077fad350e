"""What happens to a session, as Prefect events that automations can act on.

    etrade.session.renewed             E*TRADE renewed the token
    etrade.session.expiring            alert: midnight US Eastern is near, or comes too soon for a pipeline
    etrade.session.sign-in-wanted      the session is over, and no sign-in waits for a person yet
    etrade.session.sign-in-required    alert: the session is over; a person signs in
    etrade.session.failing             alert: a renewal failed for good, and a sign-in may not help
    etrade.session.key-lapsing         alert, weekly: the consumer key will soon be two years old
    etrade.session.signed-in           a person signed in
    etrade.session.signed-out          a person ended the session

Each is about the resource `etrade.session.<credentials name>`. Prefect itself adds the run, its flow and its
deployment as related resources; the credentials block is added here.

Every run that finds an alert due emits it, but people are notified once for each Eastern day and cause. The
events have the label `etrade.once`, and the automations react once to each of its values. The server keeps
the count in its database, for all processes. A count of our own would need a lock. And the day's earlier
events would not show the latest ones, which the server stores some seconds after it has acted on them.

Nothing here may stop a renewal, and no event holds a secret.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event

from etrade_flows.news.session_news import SessionEvent, SessionNews, outcome_news, sign_news
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.once_a_day import is_scheduled
from etrade_flows.runs.tags import current_run
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import CredentialsInvalid, ETradeError, SignInRequired
from etrade_tasks.session import TokenSession
from etrade_tasks.settings import RenewalSettings, renewal_settings

ENVIRONMENT_LABEL = "etrade.environment"
"""The resource's label with `live` or `sandbox`; `unknown` if no credentials could be loaded."""

ONCE_LABEL = "etrade.once"
"""The resource's label that is the same for all events that share one alert."""

_LOSS = "The event could not be emitted"


def emit_outcome(
    credentials: str,
    outcome: TokenSession | ETradeError,
    loaded: ETradeCredentials | None,
) -> None:
    """Emit the result of a renewal. Does nothing outside a run, or if the server accepts no event.

    A scheduled run emits that a sign-in is due only on `ETRADE_SIGN_IN_DAYS`, from `ETRADE_SIGN_IN_BY` on.
    Its state alerts at the same times.

    Args:
        credentials: The credentials' name.
        outcome: The result of the renewal.
        loaded: The credentials themselves; None if they could not be loaded.
    """
    run = current_run()
    if run is None:
        return
    with best_effort(_LOSS):
        at = now()
        before_end = _settings().expiring_before
        for news in outcome_news(credentials, outcome, loaded, at, expiring_before=before_end):
            if news.event is not SessionEvent.SIGN_IN_REQUIRED or may_call(run, at):
                _emit(news, loaded)


def call_for_sign_in(credentials: str, error: SignInRequired, loaded: ETradeCredentials) -> bool:
    """Emit that a sign-in is wanted, before anybody is alerted; return whether the event was emitted."""
    run, at = current_run(), now()
    if run is None or not may_call(run, at):
        return False
    alert, *_ = outcome_news(credentials, error, loaded, at, expiring_before=timedelta(0))
    # The same `once`, so that each alert starts one sign-in.
    _emit(alert.model_copy(update={"event": SessionEvent.SIGN_IN_WANTED, "advice": None}), loaded)
    return True


def may_call(run: FlowRun, at: datetime) -> bool:
    """Whether a run may ask for a sign-in at that time; a scheduled run may not always."""
    return not is_scheduled(run) or _settings().alerts_at(at)


def emit_sign(event: SessionEvent, credentials: str, loaded: ETradeCredentials) -> None:
    """Emit that a person has signed in or out.

    Args:
        event: `SIGNED_IN` or `SIGNED_OUT`.
        credentials: The credentials' name.
        loaded: The credentials with the new token, or with the one that was revoked.
    """
    with best_effort(_LOSS):
        _emit(sign_news(event, credentials, loaded, now()), loaded)


def _settings() -> RenewalSettings:
    try:
        return renewal_settings()
    except CredentialsInvalid:  # the error that is being reported
        return RenewalSettings.model_construct()


def _emit(news: SessionNews, loaded: ETradeCredentials | None) -> None:
    related = []
    if loaded and (block_id := loaded._block_document_id):  # noqa: SLF001  # Prefect has no public name
        block = {
            "prefect.resource.id": f"prefect.block-document.{block_id}",
            "prefect.resource.role": "block",
            "prefect.resource.name": loaded._block_document_name or "",  # noqa: SLF001  # as above
        }
        related.append(block)  # so that the UI links the event to it
    emit_event(
        news.event.value,
        resource={
            "prefect.resource.id": f"etrade.session.{news.credentials}",
            "prefect.resource.name": news.credentials,
            ENVIRONMENT_LABEL: news.environment,
            ONCE_LABEL: news.once,
        },
        related=related,
        payload=news.model_dump(mode="json"),
    )
