"""A faithful E*TRADE OAuth 1.0a service on one machine, for demos, tests and continuous integration.

Everything in it is made up: the consumer keys, the tokens, the accounts and the prices. Nothing here ever
talks to E*TRADE.

Example:
    >>> from etrade_simulator import Simulator
    >>> with Simulator() as simulator:
    ...     session = simulator.sign_in("live")
    >>> session.environment
    'live'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etrade_simulator.clock import SimulatorClock
    from etrade_simulator.command import serve
    from etrade_simulator.faults import Fault
    from etrade_simulator.parties import AccessToken, Consumer
    from etrade_simulator.service import RecordedCall
    from etrade_simulator.simulator import Simulator

__all__ = ["AccessToken", "Consumer", "Fault", "RecordedCall", "Simulator", "SimulatorClock", "serve"]

# Loaded on first use: every pytest run imports this package for its plug-in, and a run without a simulator
# should not load Starlette, uvicorn and oauthlib.
_HOMES = {
    "AccessToken": "parties",
    "Consumer": "parties",
    "Fault": "faults",
    "RecordedCall": "service",
    "Simulator": "simulator",
    "SimulatorClock": "clock",
    "serve": "command",
}


def __getattr__(name: str) -> object:
    """Return the object of a public name, importing its module the first time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*globals(), *_HOMES])
