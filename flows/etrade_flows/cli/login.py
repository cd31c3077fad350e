"""The commands `etrade-session login` and `logout`."""

from __future__ import annotations

import getpass
import os
import re
import select
import sys
import time
import webbrowser
from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from math import inf
from typing import Annotated

from cyclopts import Parameter
from pydantic import ValidationError

from etrade_flows.cli.output import (
    ExitCode,
    plain_console,
    quiet_console_logs,
    report_session,
    tell,
    tell_of_temporary_server,
)
from etrade_flows.person.login import (
    SignIn,
    in_rounds,
    store,
    stored_credentials,
)
from etrade_flows.person.waiting_runs import let_go_on
from etrade_flows.report.day import short_session
from etrade_flows.runs.best_effort import best_effort
from etrade_flows.runs.server import prefect_reached, require_result_storage
from etrade_flows.sign_out import end_session
from etrade_tasks.clock import now
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.errors import (
    CredentialsInvalid,
    CredentialsNotFound,
    SignInRequired,
    VerifierRefused,
)
from etrade_tasks.inputs import named_problems, variable
from etrade_tasks.load_credentials import load_block, near_names
from etrade_tasks.oauth.addresses import Environment, without_version
from etrade_tasks.oauth.authorization import REQUEST_TOKEN_LIFETIME
from etrade_tasks.session import eastern_date
from etrade_tasks.words import eastern_words


def _block_name(_: type, value: str) -> None:
    # Prefect would refuse the name only when the token is stored, after the person's work.
    if not re.fullmatch(r"[a-z0-9-]+", value):
        raise ValueError("A block's name may contain only small letters, digits and dashes.")


def _no_date_to_come(_: type, value: date | None) -> None:
    # With such a date, there would be no warning for years.
    if value is not None and value > eastern_date(now()) + timedelta(days=1):
        raise ValueError("E*TRADE cannot have issued the key in the future.")


BlockName = Annotated[str, Parameter(validator=_block_name)]


def login(
    credentials: BlockName = DEFAULT_NAME,
    *,
    environment: Environment | None = None,
    browser: bool = True,
    oauth_url: str | None = None,
    api_url: str | None = None,
    key_issued_on: Annotated[date | None, Parameter(validator=_no_date_to_come)] = None,
    rerun: bool = False,
) -> int:
    """Sign in at E*TRADE, and store the token after a first renewal has tested it.

    A new block takes its consumer key and secret from ETRADE_CONSUMER_KEY and ETRADE_CONSUMER_SECRET, or asks
    for them. Options that you omit come from ETRADE_ENVIRONMENT, ETRADE_OAUTH_URL, ETRADE_API_URL and
    ETRADE_CONSUMER_KEY_ISSUED_ON. If standard input is not a terminal, each answer is one line of it.

    Parameters
    ----------
    credentials
        The name of the E*TRADE Credentials block; it is created if there is none.
    environment
        The E*TRADE environment that issued the consumer key of a new block; live by default.
    browser
        Open E*TRADE's page in a browser if there is a screen. The command always prints its address.
    oauth_url
        The address for a new block's OAuth calls: a simulator, or the other host for a sandbox key.
    api_url
        The address for a new block's data calls.
    key_issued_on
        When E*TRADE issued the consumer key, such as 2025-07-15. You get a warning 30 days before it lapses.
    rerun
        Afterwards, run again what failed today because nobody was signed in, and resume what paused for that.
    """
    quiet_console_logs()
    tell_of_temporary_server()
    with prefect_reached():
        require_result_storage()  # before the person's work, which would be lost if the renewal failed
        given = {
            "environment": environment,
            "oauth_url": oauth_url and oauth_url.rstrip("/"),
            "api_url": api_url and without_version(api_url),
        }
        existing = stored = _existing(credentials, given)
        if stored is None:
            if near := near_names(credentials):
                tell(f"There is no block {credentials!r} yet. Did you mean {near}?")
            stored = _new(credentials, given)
        if key_issued_on is not None:
            stored = stored.model_copy(update={"consumer_key_issued_on": key_issued_on})
            if existing is not None:  # the date is true even if the sign-in fails
                store(credentials, stored)
        ask = partial(_ask, open_browser=browser and sys.stdin.isatty())
        session = in_rounds(credentials, stored, ask)
        if rerun:
            with best_effort("The waiting runs could not be looked up"):
                tell(f"Going on: {', '.join(let_go_on(credentials)) or 'nothing waited'}.")
    report_session(credentials, session)
    until = session.expires_at
    local = f"{until.astimezone():%H:%M %Z}"
    plain_console().print(f"Signed in until midnight, {eastern_words(until)} ({local}).", soft_wrap=True)
    return ExitCode.ACTIVE


def logout(credentials: BlockName = DEFAULT_NAME) -> int:
    """Revoke the access token at E*TRADE, then remove it from the block. The consumer keys stay.

    Parameters
    ----------
    credentials
        The name of the E*TRADE Credentials block.
    """
    quiet_console_logs()
    tell_of_temporary_server()
    with prefect_reached():
        tell(end_session(credentials, stored_credentials(credentials)))
    return ExitCode.ACTIVE


def _existing(name: str, given: Mapping[str, str | None]) -> ETradeCredentials | None:
    """The block to sign in to; None if it must be created.

    Raises:
        CredentialsInvalid: It cannot be used, or has another environment or address than the given one.
    """
    stored = load_block(name)
    if stored is None:
        return None
    held = {
        "environment": stored.environment,
        "oauth_url": stored.oauth_base_url,
        "api_url": stored.api_base_url,
    }
    for field, value in given.items():
        if value is not None and value != held[field]:
            raise CredentialsInvalid(
                f"The block {name!r} has another {field}: {held[field]}.",
                advice="choose another name with --credentials, or correct the block "
                f"(Prefect UI > Blocks > {name} > Edit).",
            )
    return stored


def _new(name: str, given: Mapping[str, str | None]) -> ETradeCredentials:
    """Credentials for a new block; values that are not given come from the environment.

    Raises:
        CredentialsInvalid: A value is malformed.
        CredentialsNotFound: There is no consumer key.
    """
    fields = (*given, "consumer_key_issued_on")
    values = {field: given.get(field) or os.environ.get(variable(field)) for field in fields}
    set_fields = {field: value for field, value in values.items() if value}

    def spell(field: str) -> str:
        return field if given.get(field) or not os.environ.get(variable(field)) else variable(field)

    keys = _consumer_keys(name)
    try:
        return ETradeCredentials(**keys, **set_fields)
    except ValidationError as error:
        problems = named_problems(error, spell)
    raise CredentialsInvalid(f"These values are wrong: {problems}.", advice="correct them and try again.")


def _consumer_keys(name: str) -> dict[str, str]:
    """The key pair of a block that does not exist yet, from the environment or from standard input.

    Raises:
        CredentialsNotFound: The environment lacks one, and the input ended.
    """
    labels = {"consumer_key": "Consumer key", "consumer_secret": "Consumer secret"}
    try:
        return {field: os.environ.get(variable(field)) or _answer(label) for field, label in labels.items()}
    except SignInRequired:
        raise CredentialsNotFound(
            f"There is no block named {name!r} and no consumer key to create it with.",
            advice="set ETRADE_CONSUMER_KEY and ETRADE_CONSUMER_SECRET, or run the command in a terminal.",
        ) from None


def _ask(sign_in: SignIn, refused: VerifierRefused | None, *, open_browser: bool) -> str:
    """Print E*TRADE's address, open it if asked to, and return the verifier that the person enters."""
    if refused:
        tell(f"{refused.message} Here is a new sign-in.")
    if short := short_session(sign_in.request_token.issued_at):
        tell(short)
    ends_at = time.monotonic() + REQUEST_TOKEN_LIFETIME.total_seconds()
    tell("Log in to E*TRADE at this address, accept, and enter the verifier that it shows:")
    print(sign_in.authorize_url, flush=True)  # nothing else on standard output, for scripts
    if open_browser and _has_screen():
        webbrowser.open(sign_in.authorize_url)
    return _answer("Verifier", ends_at)


def _has_screen() -> bool:
    """Whether a browser opens in its own window; a text browser would take over the terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))


def _answer(label: str, ends_at: float = inf) -> str:
    """A line of standard input: hidden input at a terminal, the next line in a script.

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
    """A line of hidden input, with a countdown of the time left.

    Raises:
        VerifierRefused: The time ran out.
        SignInRequired: The input ended.
    """
    try:
        import termios  # noqa: PLC0415  # not on Windows
    except ImportError:
        return _read_uncounted(label, ends_at)
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, [*before[:3], before[3] & ~termios.ECHO, *before[4:]])
        while (left := ends_at - time.monotonic()) > 0:
            print(f"\r{label}{_countdown(left)}: ", end="", file=sys.stderr, flush=True)
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
        print(file=sys.stderr, flush=True)
    raise _too_late()


def _read_uncounted(label: str, ends_at: float) -> str:
    """The same as `_read_line` without the countdown, for systems where Python cannot interrupt hidden input.

    Raises:
        VerifierRefused: The time ran out.
        SignInRequired: The input ended.
    """
    try:
        while not (line := getpass.getpass(f"{label}: ").strip()):
            pass
    except EOFError:
        raise _input_ended() from None
    if time.monotonic() >= ends_at:
        raise _too_late()
    return line


def _too_late() -> VerifierRefused:
    return VerifierRefused("Five minutes have passed without a verifier.")


def _countdown(left: float) -> str:
    return "" if left == inf else f", {int(left) // 60}:{int(left) % 60:02} left"


def _input_ended() -> SignInRequired:
    return SignInRequired(
        "The input ended, so nobody is signed in.", advice="run the command again, and enter the verifier."
    )
