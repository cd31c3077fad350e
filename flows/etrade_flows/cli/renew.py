"""The commands `etrade-session renew`, and `exec`, which hands the renewed session to another program."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Annotated

from cyclopts import Parameter

from etrade_flows.cli.login import BlockName
from etrade_flows.cli.output import (
    ExitCode,
    quiet_console_logs,
    report_error,
    report_session,
    tell,
    tell_next,
    tell_of_temporary_server,
    waiting,
)
from etrade_flows.renew_access_token import renew_access_token
from etrade_flows.runs.server import prefect_reached, require_result_storage
from etrade_tasks.credentials import DEFAULT_NAME, ENVIRONMENT_VARIABLES, environment_of
from etrade_tasks.errors import ETradeError
from etrade_tasks.load_credentials import credentials_not_found, current_credentials, require_known

_PASSED_ON = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")  # Windows has only the first


def renew(
    credentials: BlockName = DEFAULT_NAME,
    *,
    force: bool = False,
    required_for: timedelta = timedelta(0),
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Renew the session, unless an earlier renewal is still valid.

    Parameters
    ----------
    credentials
        The name of the E*TRADE Credentials block; without such a block the `ETRADE_*` variables are used.
    force
        Renew even if an earlier renewal is still valid.
    required_for
        How long the session must still last, such as 90m or 2h. If midnight US Eastern comes sooner, no call
        is made and the command exits with 4.
    as_json
        Print one JSON object and nothing else.
    """
    quiet_console_logs()
    tell_of_temporary_server()
    try:
        with (
            _ready_to_renew(credentials),
            waiting("Renewing the session; this can take a minute if E*TRADE has problems", as_json),
        ):
            session = renew_access_token(credentials, force=force, required_for=required_for)
    except ETradeError as error:
        return report_error(error, as_json=as_json)
    report_session(credentials, session, as_json=as_json)
    return ExitCode.ACTIVE


def with_name_as_option(arguments: Sequence[str]) -> list[str]:
    """The arguments with the name of `exec NAME -- COMMAND` as an option; the rest belong to the command."""
    match list(arguments):
        case ["exec", name, "--", *command] if not name.startswith("-"):
            return ["exec", "--credentials", name, "--", *command]
        case others:
            return others


def run_with_session(
    *command: Annotated[str, Parameter(name="COMMAND")],
    credentials: BlockName = DEFAULT_NAME,
    required_for: timedelta = timedelta(0),
) -> int:
    """Run another program with the renewed session in its ETRADE_* variables: exec NAME -- COMMAND.

    It prints only errors, and exits with the program's exit code. The program and everything it starts can
    read the keys and the token in its environment; so can other programs of the same user.

    Parameters
    ----------
    command
        The program and its arguments, after two dashes.
    credentials
        The name of the E*TRADE Credentials block; you can also write just the name before the two dashes.
    required_for
        How long the session must still last, such as 90m or 2h. If midnight US Eastern comes sooner, nothing
        runs and the command exits with 4.
    """
    quiet_console_logs()
    if not command:
        tell("There is no command to run.")
        tell_next("give one after two dashes: etrade-session exec -- COMMAND")
        return ExitCode.USAGE
    if (program := shutil.which(command[0])) is None:
        tell(f"There is no program {command[0]!r} to run.")
        tell_next("correct its name, or the PATH.")
        return ExitCode.FAILED
    with _ready_to_renew(credentials):
        renew_access_token(credentials, required_for=required_for)
        session = current_credentials(credentials)
    if session is None:  # deleted meanwhile
        raise credentials_not_found(credentials)
    kept = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT_VARIABLES}
    return _run([program, *command[1:]], kept | environment_of(session))


@contextmanager
def _ready_to_renew(name: str) -> Iterator[None]:
    """Enter the `with` block if Prefect works and has credentials of that name.

    Raises:
        PrefectUnavailable: It does not work, now or later in the block.
        CredentialsNotFound: There are none.
    """
    with prefect_reached():
        require_result_storage()
        require_known(name)
        yield


def _run(command: list[str], environment: dict[str, str]) -> int:
    """The program's exit code, as a shell reports it; signals to this process are passed on to it."""
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603  # what the user asked for

        def pass_on(number: int, _: FrameType | None) -> None:
            process.send_signal(number)

        numbers = [getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name)]
        before = {number: signal.signal(number, pass_on) for number in numbers}
        # Ctrl+C reaches the program from the terminal itself.
        on_interrupt = signal.SIG_IGN if sys.stdin.isatty() else pass_on
        before[signal.SIGINT] = signal.signal(signal.SIGINT, on_interrupt)
        code = process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
