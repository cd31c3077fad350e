"""One screen for each session, to read at a glance. Pure: `now` is in the status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from etrade_flows.health.model import SessionStatus, Source
from etrade_flows.report.markdown import distance, moment, shortened
from etrade_tasks.oauth.redaction import visible
from etrade_tasks.session import EASTERN, SessionState

_STYLES = {
    SessionState.ACTIVE: "bold green",
    SessionState.IDLE: "bold yellow",
    SessionState.UNKNOWN: "bold yellow",
}
_BAD = "bold red"
_LABEL_WIDTH = 10
_ORIGINS = {Source.BLOCK: "Prefect block", Source.ENVIRONMENT: "ETRADE_* variables"}

Row = tuple[str, Text]
"""A label and its text; a row without a label continues the previous row."""


def show(status: SessionStatus, console: Console) -> None:
    """Print the screen: as a grid in a terminal, elsewhere in lines that are never cut.

    The console must show text as it is, as `plain_console` does.
    """
    if console.is_terminal:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        for row in screen(status):
            grid.add_row(*row)
        console.print(grid)
        return
    for label, said in screen(status):
        console.print(f"{label:<{_LABEL_WIDTH}}{said.plain}", soft_wrap=True)


def screen(status: SessionStatus) -> Iterator[Row]:
    """The rows of one session, the most urgent first."""
    now = status.as_of
    origin = ", ".join(filter(None, (status.environment, _ORIGINS[status.source])))
    yield "session", Text.assemble((status.credentials, "bold"), f" ({origin})")
    state = (status.state.value, _STYLES.get(status.state, _BAD))
    yield "state", Text.assemble(state, f": {shortened(visible(status.message))}")
    if status.next:
        yield "Next:", Text(visible(status.next), style="bold")
    if status.idle_at and status.expires_at:
        stays = status.idle_at >= status.expires_at
        yield "idle", Text("not before it expires" if stays else _when(status.idle_at, now))
    if status.expires_at:
        yield "expires", Text(_when(status.expires_at, now))
    yield from _labelled("renewals", _renewals(status))
    yield from _labelled("schedule", _schedule(status))
    if status.key_warning:
        yield "key", Text(status.key_warning, style="yellow")


def _labelled(label: str, lines: Iterator[str]) -> Iterator[Row]:
    for line in lines:
        yield label, Text(line)
        label = ""


def _renewals(status: SessionStatus) -> Iterator[str]:
    if not status.renewals:
        yield "none is known today"
        return
    rows = [(moment(one.at, status.as_of, EASTERN), one.outcome, one.store) for one in status.renewals]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for one, cells in zip(status.renewals, rows, strict=True):
        padded = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"{padded}  {shortened(visible(one.message))}".rstrip()


def _schedule(status: SessionStatus) -> Iterator[str]:
    for run in status.next_runs:
        named = f"`{visible(run.deployment)}`" if run.deployment else "a run without a deployment"
        will = "is late, nothing has started it" if run.late else run.message
        yield f"{_when(run.at, status.as_of)}: {named} {will}"
    if not status.next_runs:
        yield (
            f"nothing is scheduled: run `etrade-session serve --credentials {status.credentials}`, or resume "
            "a schedule in the Prefect UI (Deployments)"
        )


def _when(at: datetime, now: datetime) -> str:
    """How far off it is, and when: in US Eastern, and in this machine's time if that differs."""
    local = at.astimezone()
    said = f"{distance(at, now)}, {moment(at, now, EASTERN)} US Eastern"
    if local.utcoffset() == at.astimezone(EASTERN).utcoffset():
        return said
    return f"{said} ({moment(at, now, None)} {local:%Z})"
