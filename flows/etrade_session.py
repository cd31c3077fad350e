"""The command `etrade-session`: starts `etrade_flows.cli.app`, or says why Prefect cannot be imported.

Prefect reads its settings when it is imported, and raises if one cannot be used. It also sends telemetry
about the import, unless told not to. So this module is outside the packages that import Prefect.
"""

import os
import sys

from pydantic import ValidationError

DEFAULTS = {
    # Turns off the telemetry of Prefect's client and temporary server. Without internet it delays the
    # command's end, and in a fresh home it fails with a traceback ("database is locked").
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The default is 20 seconds, but in a fresh home, on a busy machine, a server has taken 80.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}
"""The environment of the command and of everything it starts, unless the user has set it."""


def main() -> None:
    """Run the command, and exit with its code."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        from etrade_flows.cli.app import main as command  # noqa: PLC0415  # it imports Prefect
    except ValidationError as error:
        sys.stderr.write(_told(error))
        sys.exit(1)
    command()


def _told(error: ValidationError) -> str:
    """The Prefect settings that cannot be used, without their values."""
    wrong = "; ".join(
        f"PREFECT_...{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
        if problem["type"] != "default_factory_not_called"  # only a consequence of another problem
    )
    return (
        f"PrefectUnavailable: Prefect cannot start: a setting cannot be used ({wrong}).\n"
        "Next: correct or unset it, in the environment (`env | grep PREFECT_`) or in Prefect's profile.\n"
    )
