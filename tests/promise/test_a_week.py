"""Two weeks of the real schedule, one for each clock change, on a clock that jumps from event to event.

The flow's own code runs without Prefect's engine, which would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from etrade_flows import active_session, renew_access_token
from etrade_flows.access.memory import forget_sessions
from etrade_flows.person.login import begin_sign_in, complete_sign_in, stored_credentials
from etrade_simulator import Simulator, SimulatorClock
from etrade_tasks import ETradeCredentials, SignInRequired, TokenSession
from etrade_tasks.clock import use_clock
from etrade_tasks.session import EASTERN, IDLE_LIMIT, midnight_after
from etrade_tasks.settings import RenewalSettings

pytestmark = pytest.mark.endurance

RENEW = "/oauth/renew_access_token"
HOUR = timedelta(hours=1)
SIGN_IN = timedelta(hours=8, minutes=40)
"""The local time at which a person signs in, every day but the third; pipelines ask in between."""
ASLEEP = (timedelta(days=1, hours=10, minutes=30), timedelta(days=1, hours=16, minutes=30))
"""When the machine sleeps: on waking, the first late run starts and the others are cancelled."""


@dataclass
class Week:
    """What happens in a week, and what E*TRADE knows at each moment.

    Attributes:
        begins_at: Its first midnight.
        simulator: E*TRADE.
        block: The credentials' name.
        token: The token that the block holds.
        renewed_at: When the token was last issued or renewed.
        counts: How often each thing happened.
    """

    begins_at: datetime
    simulator: Simulator
    block: str
    token: str
    renewed_at: datetime
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("active", "refused", "woken"), 0))

    def at(self, after: timedelta) -> datetime:
        """The moment this long after the beginning of the week, in local time."""
        wall = self.begins_at.replace(tzinfo=None) + after
        return wall.replace(tzinfo=EASTERN)

    def state(self) -> str:
        """What E*TRADE would say about the token at this moment."""
        return self.simulator.token_state(self.token)

    def ask(self, door: Callable[[str], TokenSession]) -> None:
        """Ask for the session, and check the answer against what E*TRADE knows."""
        before, began_as = len(self.simulator.calls(RENEW)), self.state()
        at = self.simulator.now()
        try:
            session = door(self.block)
        except SignInRequired:
            assert "expired" == began_as
            assert [] == self.simulator.calls(RENEW)[before:]
            self.counts["refused"] += 1
            return
        calls = self.simulator.calls(RENEW)[before:]
        assert [None] * len(calls) == [call.problem for call in calls]
        if calls:
            # One renewal is reused for a whole window; a sign-in starts a new window.
            assert [1, True] == [len(calls), at - self.renewed_at >= RenewalSettings().reuse_window]
            self.renewed_at = at
        assert ("active", midnight_after(at)) == (self.state(), session.expires_at)
        assert self.renewed_at == session.renewed_at <= at < session.idle_at
        self.counts["active"] += 1

    def sign_in(self) -> None:
        """A person signs in."""
        waiting = begin_sign_in(self.block)
        token = parse_qs(urlsplit(waiting.authorize_url).query)["token"][0]
        complete_sign_in(waiting, self.simulator.approve(token))
        self.token = stored_credentials(self.block).signing_keys.token or ""
        self.renewed_at = self.simulator.now()

    def run(self) -> None:
        """The scheduled run, which finds an active token if one was renewed less than two hours ago."""
        awake = self.simulator.now() - self.renewed_at < IDLE_LIMIT
        assert self.state() == "expired" or ("active" == self.state()) == awake
        self.counts["woken"] += self.state() == "idle"
        self.ask(renew_access_token.fn)


@pytest.fixture(params=["2027-03-10", "2027-11-03"], ids=["spring", "autumn"])
def week(request: pytest.FixtureRequest, prefect_server: None, quick_flows: None) -> Iterator[Any]:
    """A week that begins on a Wednesday; the clocks change in the night to Sunday."""
    begins_at = datetime.fromisoformat(request.param).replace(tzinfo=EASTERN)
    clock = SimulatorClock.frozen(begins_at)
    with Simulator(clock=clock) as simulator, use_clock(simulator.now):
        name = f"week-{request.param}"
        token = simulator.sign_in("live")
        ETradeCredentials.model_validate(simulator.credentials(token)).save(name, overwrite=True)
        forget_sessions()
        yield Week(begins_at, simulator, name, token.token, begins_at)
    forget_sessions()


def test_every_step_of_a_week_keeps_the_first_promise(week: Week, scheduled: Callable[..., Any]) -> None:
    """In a week of hourly runs every answer is right, and no token idles while the machine is awake."""
    asleep_from, asleep_until = map(week.at, ASLEEP)
    runs = scheduled("hourly", week.begins_at, week.at(timedelta(days=7)))
    steps = [(at, week.run) for at in runs]
    steps += [(at + timedelta(minutes=25), lambda: week.ask(active_session)) for at in runs]
    steps += [(week.at(timedelta(days=day) + SIGN_IN), week.sign_in) for day in {*range(7)} - {2}]
    steps = [(at, act) for at, act in steps if not asleep_from <= at < asleep_until]
    steps.append((asleep_until, week.run))
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        for at, act in sorted(steps, key=lambda step: step[0]):
            week.simulator.set_time(at)
            act()
    days_without = 1 + 6 * (SIGN_IN / timedelta(days=1))
    assert 1 == week.counts["woken"]  # after the sleep
    assert week.counts["active"] > 150
    assert week.counts["refused"] > 2 * 23 * days_without * 0.8
