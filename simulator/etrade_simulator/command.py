"""Serves a simulator in the foreground, for a command to use."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from etrade_simulator.control import control_routes
from etrade_simulator.parties import ENVIRONMENTS
from etrade_simulator.simulator import Simulator


def serve(port: int, control: bool, announce: Callable[[Simulator], None]) -> None:
    """Serve until interrupted or terminated; ``announce`` is called when the simulator answers calls.

    Raises:
        OSError: The port is taken.
    """
    ended = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler's signature
        ended.set()

    with Simulator(port, control=control_routes if control else None, rate_limits=True) as simulator:
        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            announce(simulator)
            ended.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def describe(simulator: Simulator) -> str:
    """Return the text that tells a person the simulator's address and its keys."""
    lines = [
        f"E*TRADE simulator at {simulator.url} (nothing here is E*TRADE; Ctrl+C ends it)",
        f"  OAuth address  {simulator.oauth_url}",
        *(f"  {name + ' API':<14} {simulator.api_url(name)}" for name in ENVIRONMENTS),
        "Sample consumers, random for this run and worthless elsewhere:",
    ]
    for name in ENVIRONMENTS:
        consumer = simulator.consumer(name)
        lines += [f"  {name:<8} key    {consumer.key}", f"  {'':<8} secret {consumer.secret}"]
    return "\n".join(lines)
