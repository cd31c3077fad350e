"""The commands `etrade-session login` and `logout`."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import webbrowser
from collections.abc import Callable
from datetime import date
from functools import partial
from math import inf
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from etrade_flows.best_effort import best_effort
from etrade_flows.cli_output import ExitCode, quiet_console_logs, report_error, report_session
from etrade_flows.prefect_server import prefect_reached
from etrade_flows.sign_out import end_session
from etrade_flows.signing_in import (
    SignIn,
    in_rounds,
    signed_out_credentials,
    store,
    stored_credentials,
)
from etrade_flows.waiting_runs import let_go_on
from etrade_tasks.addresses import Environment
from etrade_tasks.authorization import REQUEST_TOKEN_LIFETIME, ConsumerKeys
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import (
    CredentialsInvalid,
    CredentialsNotFound,
    ETradeError,
    SignInRequired,
    VerifierRefused,
)
from etrade_tasks.load_credentials import load_block
from etrade_tasks.session import TokenSession


def _block_name(_: type, value: str) -> None:
    # Prefect would refuse the name only when the token is to be stored, after the person's work.
    if not re.fullmatch(r"[a-z0-9-]+", value):
        raise ValueError("The name of a block is made of small letters, digits and dashes.")


BlockName = Annotated[str, Parameter(validator=_block_name)]


def register(app: App) -> None:
    """Add `login` and `logout` to the command."""
    app.command(login)
    app.command(logout)


def login(
    *,
    credentials: BlockName = "etrade",
    environment: Environment | None = None,
    browser: bool = True,
    oauth_url: Annotated[str, Parameter(env_var="ETRADE_OAUTH_URL")] = "",
    api_url: Annotated[str, Parameter(env_var="ETRADE_API_URL")] = "",
    key_issued_on: date | None = None,
    rerun: bool = False,
) -> int:
    """Sign in at E*TRADE, and store the token once a first renewal has proven it.

    The consumer key and secret of a new block are taken from ETRADE_CONSUMER_KEY and ETRADE_CONSUMER_SECRET,
    or asked for. Where standard input is no terminal, each answer is a line of it.

    Parameters
    ----------
    credentials
        The name of the E*TRADE Credentials block; it is made if there is none.
    environment
        Which of E*TRADE's environments issued the consumer key of a new block; live unless given.
    browser
        Open E*TRADE's page in a browser; its address is printed in any case.
    oauth_url
        Where a new block's OAuth calls go: a simulator, or the other host for a sandbox key.
    api_url
        Where a new block's data calls go.
    key_issued_on
        When E*TRADE issued the consumer key, as in 2025-07-15: you are warned 30 days before it lapses.
    rerun
        Then run again what failed today for want of a sign-in, and resume what paused for that.
    """

    def act() -> TokenSession:
        existing = stored = _existing(credentials, environment)
        if stored is None:
            keys = _consumer_keys(credentials)
            stored = signed_out_credentials(environment or "live", keys, oauth_url, api_url)
        if key_issued_on is not None:
            stored = stored.model_copy(update={"consumer_key_issued_on": key_issued_on})
            if existing:  # the date is true whatever becomes of the sign-in
                store(credentials, stored)
        ask = partial(_ask, open_browser=browser and sys.stdin.isatty())
        session = in_rounds(credentials, stored, ask)
        if rerun:
            with best_effort("The runs that waited could not be looked for"):
                _tell(f"Going on: {', '.join(let_go_on(credentials)) or 'nothing waited'}.")
        return session

    return _exit_code(credentials, act)


def logout(*, credentials: BlockName = "etrade") -> int:
    """Revoke the access token at E*TRADE, then forget it; the consumer keys stay.

    Parameters
    ----------
    credentials
        The name of the E*TRADE Credentials block.
    """

    def act() -> None:
        _tell(end_session(credentials, stored_credentials(credentials)))

    return _exit_code(credentials, act)


def _exit_code(name: str, act: Callable[[], TokenSession | None]) -> int:
    """What the command exits with; the session or the error that `act` comes to is shown."""
    quiet_console_logs()
    try:
        with prefect_reached():
            session = act()
    except ETradeError as error:
        report_error(error)
        person_needed = isinstance(error, (SignInRequired, VerifierRefused))
        return ExitCode.SIGN_IN_REQUIRED if person_needed else ExitCode.FAILED
    if session is not None:
        report_session(name, session)
    return ExitCode.ACTIVE


def _existing(name: str, environment: Environment | None) -> ETradeCredentials | None:
    """The block to sign in to; None if it is to be made.

    Raises:
        CredentialsInvalid: Its consumer key is of the other environment, or it cannot be used.
    """
    stored = load_block(name)
    if stored is None or environment in (None, stored.environment):
        return stored
    raise CredentialsInvalid(
        f"The consumer key of {name!r} is good in the {stored.environment} environment only.",
        advice="choose another name by --credentials, or put the other key into the block first.",
    )


def _consumer_keys(name: str) -> ConsumerKeys:
    """The key pair of a block that does not exist yet, from the environment or from standard input.

    Raises:
        CredentialsNotFound: The environment lacks one, and the input ended.
    """
    key, secret = (os.environ.get(f"ETRADE_CONSUMER_{part}", "") for part in ("KEY", "SECRET"))
    try:
        return ConsumerKeys(key or _answer("Consumer key"), secret or _answer("Consumer secret"))
    except SignInRequired:
        raise CredentialsNotFound(
            f"There is no block named {name!r} and no consumer key to make it with.",
            advice="set ETRADE_CONSUMER_KEY and ETRADE_CONSUMER_SECRET, or run the command in a terminal.",
        ) from None


def _ask(sign_in: SignIn, refused: VerifierRefused | None, *, open_browser: bool) -> str:
    """The verifier that the person was shown at the address that is printed, and opened if asked to."""
    if refused:
        _tell(f"{refused.message} Here is a new sign-in.")
    ends_at = time.monotonic() + REQUEST_TOKEN_LIFETIME.total_seconds()
    _tell("Log in to E*TRADE at this address, accept, and enter the verifier that you are shown:")
    print(sign_in.authorize_url, flush=True)  # alone on standard output, for scripts
    if open_browser:
        webbrowser.open(sign_in.authorize_url)
    return _answer("Verifier", ends_at)


def _answer(label: str, ends_at: float = inf) -> str:
    """A line of standard input: at a terminal what the person types unseen, in a script the next line.

    Raises:
        VerifierRefused: The time ran out at a terminal.
        SignInRequired: The input ended.
    """
    if sys.stdin.isatty():
        return _read_line(f"{label} (stays hidden)", ends_at)
    if line := sys.stdin.readline():
        return line.strip()
    raise _input_ended()


def _read_line(label: str, ends_at: float) -> str:
    """A line that the person types unseen, while the time that is left counts down.

    Raises:
        VerifierRefused: The time ran out.
        SignInRequired: The input ended.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, [*before[:3], before[3] & ~termios.ECHO, *before[4:]])
        while (left := ends_at - time.monotonic()) > 0:
            _show(f"\r{label}{_countdown(left)}: ")
            if not select.select([terminal], [], [], min(1.0, left))[0]:
                continue
            line = os.read(terminal, 4096).decode(errors="replace")
            if not line:
                raise _input_ended()
            if line.strip():
                return line.strip()
    finally:
        # What was typed too late must not land in the shell.
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        _show("\n")
    raise VerifierRefused("Five minutes have passed without a verifier.")


def _countdown(left: float) -> str:
    return "" if left == inf else f", {int(left) // 60}:{int(left) % 60:02} left"


def _input_ended() -> SignInRequired:
    return SignInRequired(
        "The input ended, so nobody is signed in.", advice="run the command again, and enter the verifier."
    )


def _tell(text: str) -> None:
    Console(stderr=True, highlight=False).print(text, markup=False)


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
