"""A token's day in half a minute: what `etrade-session demo` shows.

It runs in its own process with a temporary Prefect home. Every line shows what really happened: signed calls
over HTTP to the built-in simulator, whose clock moves forward. It exits with 1 if a step went wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import TypeVar

import httpx
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from etrade_flows.renew_access_token import renew_access_token
from etrade_simulator import Simulator, SimulatorClock
from etrade_tasks.clock import use_clock
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.errors import SignInRequired
from etrade_tasks.session import EASTERN
from etrade_tasks.words import clock

Result = TypeVar("Result")

NAME = "demo"
_TIME_WIDTH = 7
_TEXT_WIDTH = 32


class UnexpectedError(Exception):
    """A step of the day went wrong."""


class Day:
    """Prints the day's events, with the simulated E*TRADE's time."""

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
            _data_call(day, client, expect=200)
            day.pass_time(timedelta(hours=2), "two hours pass without a request")
            _data_call(day, client, expect=401)
            _renew(day, simulator, console, expect_calls=1)
            _data_call(day, client, expect=200)
            day.pass_time(timedelta(minutes=20), "twenty minutes pass")
            _renew(day, simulator, console, expect_calls=0)
        day.pass_time(timedelta(hours=13), "midnight US Eastern passes")
        error = _expect_sign_in(day, simulator, console)
    show_the_end(console, error)


def show_the_end(console: Console, error: SignInRequired) -> None:
    """Print what a person reads after midnight, and what to do after the demo."""
    console.print("\n What the person reads:")
    said = f"{escape(error.message)}\n[bold]Next:[/] {escape(error.advice)}"
    console.print(Padding(said, (0, 3, 1, 3)))
    console.print(' In a pipeline, first:    [bold]renew_access_token("etrade")[/]')
    console.print(" With the Prefect UI:     [bold]make up[/], in a checkout")
    console.print(" With your own account:   [bold]etrade-session login[/]\n")


def _data_call(day: Day, client: httpx.Client, expect: int) -> None:
    answer = client.get("/v1/accounts/list.json")
    good = answer.is_success
    day.tell(
        "A pipeline asks for the accounts",
        f"{answer.status_code}, {'served' if good else 'the token is idle'}",
        good=good,
    )
    _require(answer.status_code == expect, f"the data call answered {answer.status_code}, not {expect}")


def _renew(day: Day, simulator: Simulator, console: Console, expect_calls: int) -> None:
    def renew() -> str:
        session = renew_access_token(NAME)
        until = clock(session.idle_at)
        if session.reused:
            return f"reused, no call; active until {until}"
        return f"renewed; active until {until}"

    calls, outcome = _counted(simulator, console, renew)
    day.tell(f'renew_access_token("{NAME}")', outcome)
    _require(calls == expect_calls, f"the renewal made {calls} calls, not {expect_calls}")


def _expect_sign_in(day: Day, simulator: Simulator, console: Console) -> SignInRequired:
    def renew() -> SignInRequired:
        try:
            renew_access_token(NAME)
        except SignInRequired as error:
            return error
        raise UnexpectedError("a session was renewed past its midnight")

    calls, error = _counted(simulator, console, renew)
    day.tell(f'renew_access_token("{NAME}")', "SignInRequired, no call", good=False)
    _require(calls == 0, f"{calls} calls were made for a session that was over")
    return error


def _counted(simulator: Simulator, console: Console, action: Callable[[], Result]) -> tuple[int, Result]:
    """How many renewal calls an action made, and its result."""
    path = "/oauth/renew_access_token"
    before = len(simulator.calls(path))
    with console.status("The flow renew-access-token runs"):
        result = action()
    return len(simulator.calls(path)) - before, result


def _require(holds: bool, otherwise: str) -> None:  # reads as an assertion
    if not holds:
        raise UnexpectedError(otherwise)


def main() -> int:
    """Run the demo; 0 if the day went as it should."""
    console = Console(highlight=False)
    try:
        run(console)
    except UnexpectedError as error:
        console.print(f"[bold red]The demo went wrong[/]: {escape(str(error))}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
