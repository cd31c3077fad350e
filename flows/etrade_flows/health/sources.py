"""Collects the facts about each session, for `status`."""

from __future__ import annotations

from etrade_flows.access.renewal import Wanted, renew_loaded
from etrade_flows.health.facts import Facts
from etrade_flows.health.findings import SkipCheck
from etrade_flows.health.judgement import SessionFacts
from etrade_flows.runs.server import RETRIES, prefect_reached
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import CredentialsNotFound, ETradeError, PrefectUnavailable, SignInRequired
from etrade_tasks.load_credentials import block_names
from etrade_tasks.prefect_context import changed_setting
from etrade_tasks.session import TokenSession


def session_facts(credentials: str | None, *, check: bool = False) -> tuple[SessionFacts, ...]:
    """What is known about the sessions, sorted by name.

    Args:
        credentials: The one to look up; None for every block or, if there is none, the environment.
        check: Ask E*TRADE too, by renewing each session.

    Raises:
        CredentialsNotFound: There is nothing of that name, or nothing at all.
        PrefectUnavailable: The Prefect server does not answer correctly.
    """
    with prefect_reached(), changed_setting("client.max_retries", RETRIES):
        names = [credentials] if credentials else block_names() or [DEFAULT_NAME]
        try:
            return tuple(_facts(name, check=check) for name in names)
        except SkipCheck as missing:  # the server answered before, but is gone now
            raise PrefectUnavailable(missing.says) from None


def _facts(name: str, *, check: bool) -> SessionFacts:
    facts = Facts(name)
    loaded, source = facts.stored
    if isinstance(loaded, CredentialsNotFound):
        raise loaded
    checked: TokenSession | ETradeError | None = None
    session, failure = None, None
    if isinstance(loaded, ETradeCredentials):
        if check and loaded.access_token is not None:
            try:
                checked = renew_loaded(name, loaded, Wanted(force=True))
            except ETradeError as error:
                checked = error
        record = facts.record
        session, failure = record.session, record.failure and record.failure.error()
    return SessionFacts(
        credentials=name,
        source=source,
        loaded=loaded,
        record=session,
        refused=failure if isinstance(failure, SignInRequired) else None,
        attempts=facts.attempts,
        scheduled=facts.scheduled,
        checked=checked,
        way_in=facts.way_in,
    )
