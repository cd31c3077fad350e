"""A token's day in half a minute: what `etrade-session demo` shows.

It runs in its own process with a temporary Prefect home. Every line shows what really happened: signed calls
over HTTP to the built-in simulator, whose clock moves forward. It exits with 1 if a step went wrong.
"""

from __future__ import annotations

import sys
from datetime import datetime, time, timedelta

import httpx
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from etrade_flows.cli.output import show_any_text
from etrade_flows.renew_access_token import renew_access_token
from etrade_simulator import Simulator, SimulatorClock
from etrade_tasks.clock import use_clock
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import SignInRequired
from etrade_tasks.session import EASTERN
from etrade_tasks.words import clock

NAME = "demo"
_TIME_WIDTH = 7
_TEXT_WIDTH = 32


class UnexpectedError(Exception):
    """A step of the day went wrong."""


class Day:
    """Goes through the day's events, and prints each with the simulated E*TRADE's time."""

    def __init__(self, console: Console, simulator: Simulator) -> None:
        self._console = console
        self._simulator = simulator

    def tell(self, event: str, outcome: str, *, good: bool = True) -> None:
        """Print one event and its result."""
        at = clock(self._simulator.now())
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_column(width=_TIME_WIDTH, style="dim")
        line.add_column(width=_TEXT_WIDTH)
        line.add_column(style="green" if good else "yellow")
        line.add_row(f" {at}", event, outcome)
        self._console.print(line)

    def pass_time(self, span: timedelta, words: str) -> None:
        """Move the simulated clock forward."""
        self._simulator.advance(span)
        self._console.print(f"        [dim italic]… {words} …[/]")

    def call(self, client: httpx.Client, expect: int) -> None:
        """Make a data call, which is answered with the expected status."""
        answer = client.get("/v1/accounts/list.json")
        served = f"{answer.status_code}, {'served' if answer.is_success else 'the token is idle'}"
        self.tell("A pipeline asks for the accounts", served, good=answer.is_success)
        _require(answer.status_code == expect, f"the data call answered {answer.status_code}, not {expect}")

    def renew(self, expect: str) -> SignInRequired | None:
        """Run the flow, which ends as expected and calls only if it renews; return its error, if any."""
        path, refused = "/oauth/renew_access_token", None
        before = len(self._simulator.calls(path))
        with self._console.status("The flow renew-access-token runs"):
            try:
                session = renew_access_token(NAME)
            except SignInRequired as error:
                outcome, refused = "SignInRequired, no call", error
            else:
                did = "reused, no call" if session.reused else "renewed"
                outcome = f"{did}; active until {clock(session.idle_at)}"
        calls = len(self._simulator.calls(path)) - before
        self.tell(f'renew_access_token("{NAME}")', outcome, good=refused is None)
        _require(outcome.startswith(expect), f"the flow ended with {outcome!r}, not {expect!r}")
        _require(calls == (expect == "renewed"), f"the flow made {calls} calls")
        return refused


def run(console: Console) -> None:
    """Run through the day, and print what happens.

    Raises:
        UnexpectedError: A step did not do what it should.
    """
    morning = datetime.combine(datetime.now(EASTERN).date(), time(9), tzinfo=EASTERN)
    console.print("\n[bold]A day of an E*TRADE access token[/] (simulated on this machine)\n")
    with Simulator(clock=SimulatorClock(morning)) as simulator, use_clock(simulator.now):
        day = Day(console, simulator)
        token = simulator.sign_in("live")
        day.tell("A person signs in at E*TRADE", "token issued, expires at midnight")
        with console.status("Starting a temporary Prefect server"):
            credentials = ETradeCredentials.model_validate(simulator.credentials(token))
            credentials.save(NAME)
        with credentials.get_client() as client:
            day.call(client, expect=200)
            day.pass_time(timedelta(hours=2), "two hours pass without a request")
            day.call(client, expect=401)
            day.renew(expect="renewed")
            day.call(client, expect=200)
            day.pass_time(timedelta(minutes=20), "twenty minutes pass")
            day.renew(expect="reused")
        day.pass_time(timedelta(hours=13), "midnight US Eastern passes")
        error = day.renew(expect="SignInRequired")
    assert error is not None  # noqa: S101  # for type checkers: `renew` has checked it
    show_the_end(console, error)


def show_the_end(console: Console, error: SignInRequired) -> None:
    """Print what a person reads after midnight, and what to do after the demo."""
    console.print("\n What the person reads:")
    said = f"{escape(error.message)}\n[bold]Next:[/] {escape(error.advice)}"
    console.print(Padding(said, (0, 3, 1, 3)))
    console.print(' In a pipeline, first:    [bold]renew_access_token("etrade")[/]')
    console.print(" With the Prefect UI:     [bold]make up[/], in a checkout")
    console.print(" With your own account:   [bold]etrade-session login[/]\n")


def _require(holds: bool, otherwise: str) -> None:  # reads as an assertion
    if not holds:
        raise UnexpectedError(otherwise)


def main() -> int:
    """Run the demo; 0 if the day went as it should."""
    show_any_text()
    console = Console(highlight=False)
    try:
        run(console)
    except UnexpectedError as error:
        console.print(f"[bold red]The demo went wrong[/]: {escape(str(error))}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
