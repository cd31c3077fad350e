"""What the commands have in common: exit codes, and how a session and an error are shown."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from typing import Any

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etrade_flows.runs.server import START_SERVER, TEMPORARY_SERVER, server_is_temporary
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, SignInRequired
from etrade_tasks.oauth.redaction import visible
from etrade_tasks.session import SessionState, TokenSession, in_utc
from etrade_tasks.words import eastern_words


class ExitCode(IntEnum):
    """What the command's exit says."""

    ACTIVE = 0
    FAILED = 1
    USAGE = 2
    SIGN_IN_REQUIRED = 4


def plain_console(*, stderr: bool = False) -> Console:
    """A console that shows every text as it is: no markup, emoji or highlights are found in it.

    What is printed may hold a user's or a stranger's words; what needs a style is given as a `Text`.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def quiet_console_logs() -> None:
    """Keep all but warnings of Prefect's log off this terminal; the server still gets every line."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):  # others are the user's own
            handler.addFilter(lambda record: record.levelno == logging.WARNING)


def tell_of_temporary_server() -> None:
    """Say so where no Prefect server is set, before the temporary one keeps the person waiting."""
    if server_is_temporary():
        tell(TEMPORARY_SERVER)
        tell_next(START_SERVER)


def tell(*parts: str | tuple[str, str]) -> None:
    """Print one paragraph on standard error: wrapped in a terminal, elsewhere a line that is never cut.

    It goes out in one call: of a paragraph in pieces, each would be wrapped as if it began at the left edge.

    Args:
        parts: Texts, each alone or with its style. What a stranger has said must have gone through `visible`.
    """
    console = plain_console(stderr=True)
    console.print(Text.assemble(*parts), soft_wrap=not console.is_terminal)


def tell_next(advice: str) -> None:
    """Print on standard error what a person does next."""
    tell(("Next: ", "bold"), visible(advice))


def waiting(words: str, as_json: bool = False) -> AbstractContextManager[object]:
    """A spinner beside these words while the `with` block lasts, where a person looks at standard error."""
    console = plain_console(stderr=True)
    return nullcontext() if as_json or not console.is_terminal else console.status(words)


def report_session(credentials: str, session: TokenSession, *, as_json: bool = False) -> None:
    """Show a session on standard output: as a table, or as one JSON object."""
    moment = now()
    state = session.state(moment)
    if as_json:
        _print_json({"state": state, "credentials": credentials, **session.model_dump(mode="json")})
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("session", visible(f"{credentials} ({session.environment})"))
    table.add_row("state", Text(state, "bold green" if state is SessionState.ACTIVE else ""))
    table.add_row("renewed", "by an earlier renewal" if session.reused else "just now")
    for label, instant in (("idle from", session.idle_at), ("over at", session.expires_at)):
        local = f"{instant.astimezone():%Y-%m-%d %H:%M %Z}"
        table.add_row(label, f"{eastern_words(instant)} ({local})")
    plain_console().print(table)


def report_error(error: ETradeError, *, as_json: bool = False) -> None:
    """Show what happened and what to do: on standard error, or as one JSON object on standard output."""
    if as_json:
        needed = isinstance(error, SignInRequired)
        state = SessionState.SIGN_IN_REQUIRED if needed else SessionState.FAILED
        shown = {"message": error.message, "advice": error.advice, **error.facts}
        if error.expires_at is not None:
            shown["expires_at"] = in_utc(error.expires_at).isoformat()
        _print_json({"state": state, "error": type(error).__name__, **shown})
        return
    tell((type(error).__name__, "bold red"), ": ", visible(error.message))
    tell_next(error.advice)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))
