"""The command `etrade-session`: starts `etrade_flows.cli.app`, or says why Prefect cannot be imported.

Prefect reads its settings when it is imported, and raises where one of them cannot be used. So this stands
outside of the packages that import it.
"""

import sys

from pydantic import ValidationError


def main() -> None:
    """Run the command, and exit with its code."""
    try:
        from etrade_flows.cli.app import main as command  # noqa: PLC0415  # it imports Prefect
    except ValidationError as error:
        sys.stderr.write(_told(error))
        sys.exit(1)
    command()


def _told(error: ValidationError) -> str:
    """Which of Prefect's settings cannot be used, without its value."""
    wrong = "; ".join(
        f"PREFECT_...{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
        if problem["type"] != "default_factory_not_called"  # which follows from another
    )
    return (
        f"PrefectUnavailable: Prefect cannot start: a setting cannot be used ({wrong}).\n"
        "Next: correct or unset it, in the environment (`env | grep PREFECT_`) or in Prefect's profile.\n"
    )
