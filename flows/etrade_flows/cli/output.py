"""What the commands share: exit codes, and how to show a session and an error."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from io import TextIOWrapper
from typing import Any

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etrade_flows.runs.server import START_SERVER, TEMPORARY_SERVER, server_is_temporary
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError, SignInRequired, VerifierRefused
from etrade_tasks.oauth.redaction import visible
from etrade_tasks.session import SessionState, TokenSession, in_utc
from etrade_tasks.words import eastern_words


class ExitCode(IntEnum):
    """The command's exit codes."""

    ACTIVE = 0
    FAILED = 1
    USAGE = 2
    SIGN_IN_REQUIRED = 4


def plain_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is, without markup, emoji or highlighting.

    The text may come from a user or a stranger. To give it a style, pass a `Text`.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def show_any_text() -> None:
    """Print a `?` for each character that the output's encoding lacks; Python would end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def quiet_console_logs() -> None:
    """Keep all but warnings of Prefect's log off this terminal; the server still gets every line."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):  # other handlers are the user's own
            handler.addFilter(lambda record: record.levelno == logging.WARNING)


def tell_of_temporary_server() -> None:
    """Say that no Prefect server is set, before a temporary one starts, which takes a while."""
    if server_is_temporary():
        tell(TEMPORARY_SERVER)
        tell_next(START_SERVER)


def tell(text: str, label: Text | str = "") -> None:
    """Print one paragraph on standard error, wrapped in a terminal and on one line elsewhere.

    It prints in one call, because each piece would be wrapped as if it began at the left edge.

    Args:
        text: The text, which may come from a stranger.
        label: What stands before it.
    """
    console = plain_console(stderr=True)
    console.print(Text.assemble(label, visible(text)), soft_wrap=not console.is_terminal)


def tell_next(advice: str) -> None:
    """Print on standard error what a person does next."""
    tell(advice, Text("Next: ", "bold"))


def waiting(words: str, as_json: bool = False) -> AbstractContextManager[object]:
    """A spinner with these words inside the `with` block, if standard error is a terminal."""
    return nullcontext() if as_json else plain_console(stderr=True).status(words)


def report_session(credentials: str, session: TokenSession, *, as_json: bool = False) -> None:
    """Show a session on standard output: as a table, or as one JSON object."""
    moment = now()
    state = session.state(moment)
    if as_json:
        print_json({"state": state, "credentials": credentials, **session.model_dump(mode="json")})
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("session", visible(f"{credentials} ({session.environment})"))
    table.add_row("state", Text(state, "bold green" if state is SessionState.ACTIVE else ""))
    table.add_row("renewed", "by an earlier renewal" if session.reused else "just now")
    for label, instant in (("idle from", session.idle_at), ("expires at", session.expires_at)):
        local = f"{instant.astimezone():%Y-%m-%d %H:%M %Z}"
        table.add_row(label, f"{eastern_words(instant)} ({local})")
    plain_console().print(table)


def report_error(error: ETradeError, *, as_json: bool = False) -> ExitCode:
    """Show what happened and what to do: on standard error, or as one JSON object on standard output.

    Returns:
        The command's exit code.
    """
    needed = isinstance(error, (SignInRequired, VerifierRefused))
    if as_json:
        state = SessionState.SIGN_IN_REQUIRED if needed else SessionState.FAILED
        shown = {"message": error.message, "advice": error.advice, **error.facts}
        if error.expires_at is not None:
            shown["expires_at"] = in_utc(error.expires_at).isoformat()
        print_json({"state": state, "error": type(error).__name__, **shown})
    else:
        tell(error.message, Text.assemble((type(error).__name__, "bold red"), ": "))
        tell_next(error.advice)
    return ExitCode.SIGN_IN_REQUIRED if needed else ExitCode.FAILED


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(value, indent=2))
