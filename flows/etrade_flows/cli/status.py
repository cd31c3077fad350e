"""The command `etrade-session status`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from etrade_flows.cli.output import (
    ExitCode,
    plain_console,
    quiet_console_logs,
    report_error,
    tell_of_temporary_server,
)
from etrade_flows.health.judgement import judge
from etrade_flows.health.model import StatusReport
from etrade_flows.health.screen import show
from etrade_flows.health.sources import session_facts
from etrade_tasks.clock import now
from etrade_tasks.errors import ETradeError
from etrade_tasks.session import SessionState
from etrade_tasks.settings import renewal_settings


def status(
    credentials: str | None = None,
    *,
    check: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Show how each session stands, until when it lasts, and what the schedule does next.

    It reads the credentials, the result storage and the Prefect server. It calls E*TRADE only with --check.

    Parameters
    ----------
    credentials
        The name of the credentials block; without such a block the `ETRADE_*` variables are used. By default
        every block is shown.
    check
        Ask E*TRADE by renewing each session, even if an earlier renewal is still valid.
    as_json
        Print one JSON object and nothing else.
    """
    quiet_console_logs()
    tell_of_temporary_server()
    try:
        window = renewal_settings().reuse_window
        facts = session_facts(credentials, check=check)
    except ETradeError as error:
        return report_error(error, as_json=as_json)
    moment = now()
    sessions = tuple(judge(one, moment, window) for one in facts)
    if as_json:
        print(StatusReport(sessions=sessions).model_dump_json(indent=2))
    else:
        console = plain_console()
        for number, one in enumerate(sessions):
            if number:
                console.print()
            show(one, console)
    states = {one.state for one in sessions}
    if any(state.needs_sign_in for state in states):
        return ExitCode.SIGN_IN_REQUIRED
    return ExitCode.ACTIVE if states == {SessionState.ACTIVE} else ExitCode.FAILED
