"""The command `etrade-session doctor`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from etrade_flows.cli.login import BlockName
from etrade_flows.cli.output import ExitCode, plain_console, print_json, quiet_console_logs
from etrade_flows.health.examination import examine
from etrade_flows.health.findings import Finding, Health, as_object, gathered, has_problem, summary
from etrade_tasks.credentials import DEFAULT_NAME
from etrade_tasks.oauth.redaction import visible

_STYLES = {
    Health.OK: "green",
    Health.WARNING: "yellow",
    Health.PROBLEM: "bold red",
    Health.SKIPPED: "dim",
}


def doctor(
    credentials: BlockName = DEFAULT_NAME,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Check everything that a renewal needs, and say what to fix. The report is safe to post in public.

    It makes one call to E*TRADE, and a data call too if somebody is signed in. It also tests the result
    storage and the locks. It exits with 1 if there is a problem.

    Parameters
    ----------
    credentials
        The name of the E*TRADE Credentials block; without such a block the `ETRADE_*` variables are used.
    as_json
        Print one JSON object and nothing else.
    """
    quiet_console_logs()
    with plain_console(stderr=True).status("Checking what a renewal needs"):
        findings = examine(credentials)
    if as_json:
        print_json(as_object(credentials, findings))
    else:
        _show(findings)
    return ExitCode.FAILED if has_problem(findings) else ExitCode.ACTIVE


def _show(findings: list[Finding]) -> None:
    """Print a table in a terminal; elsewhere one plain line for each finding and one for its remedy."""
    console = plain_console()
    read = gathered(findings)
    if console.is_terminal:
        console.print(_table(read))
    else:
        for finding in read:
            print(f"{finding.verdict:<8} {finding.check:<15} {visible(finding.says)}")
            if finding.remedy:
                print(f"{'':<24} Next: {visible(finding.remedy)}")
    print(summary(findings))


def _table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        said = Text(visible(finding.says))
        if finding.remedy:
            said.append("\nNext: ", "bold").append(visible(finding.remedy))
        table.add_row(Text(finding.verdict, _STYLES[finding.verdict]), finding.check, said)
    return table
