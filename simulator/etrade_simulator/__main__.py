"""The simulator as a command: ``python -m etrade_simulator [--port 8765] [--control]``."""

from __future__ import annotations

import argparse
import sys

from etrade_simulator.command import describe, serve
from etrade_simulator.simulator import Simulator

DEFAULT_PORT = 8765
HIGHEST_PORT = 65535


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted, and give the exit status: 0, or 1 if the port is taken."""
    parser = argparse.ArgumentParser(
        prog="python -m etrade_simulator",
        description="Serve a simulated E*TRADE OAuth service on this machine, until interrupted.",
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port to listen on; 0 takes a free one"
    )
    parser.add_argument("--control", action="store_true", help="serve /_control/ to move the clock and so on")
    parser.add_argument("--no-rate-limits", action="store_true", help="take any number of calls a second")
    options = parser.parse_args(arguments)
    try:
        serve(
            options.port,
            control=options.control,
            announce=_announce,
            rate_limits=not options.no_rate_limits,
        )
    except OSError as error:
        sys.stderr.write(f"Cannot listen on port {options.port}: {error.strerror}. Try --port 0.\n")
        return 1
    return 0


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= HIGHEST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to {HIGHEST_PORT}")


def _announce(simulator: Simulator) -> None:
    sys.stdout.write(describe(simulator) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
