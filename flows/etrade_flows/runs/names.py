"""The names by which Prefect knows our flows and their runs.

A run that ends says in its name what it came to, as in `renew etrade: reused until 13:20`: Prefect's lists of
runs show the name, and no message. Code reads the tags instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from etrade_tasks.credentials import DEFAULT_NAME

RENEWAL = "renew-access-token"
FLEET = "renew-fleet"
SIGN_IN = "sign-in"
SIGN_OUT = "sign-out"

SECOND_TRY = "second-try-of-"
"""How the idempotency key of a run begins that tries again what failed; the id of that run follows."""

START_SIGN_IN = "E*TRADE: start the sign-in"
"""The automation that has a sign-in wait for a person."""

FLEET_RUN = "renew fleet"
"""What a run of `renew-fleet` is called once it has begun."""

_ENDED = ": "


def titled(title: str) -> Any:  # noqa: ANN401  # as pydantic's own `Field`
    """What the run form in the Prefect UI calls a parameter, to stand in its `Annotated`.

    Prefect calls each parameter by its name, whatever title a field has; only what is put into the schema
    last stays (Prefect 3.8 and 3.9).
    """
    return Field(json_schema_extra={"title": title})


def renewal_run(credentials: str) -> str:
    """What a run of `renew-access-token` is called once it has begun."""
    return f"renew {credentials}"


def sign_in_run(credentials: str) -> str:
    """What a run of `sign-in` is called once it has begun."""
    return f"sign in {credentials}"


def sign_out_run(credentials: str) -> str:
    """What a run of `sign-out` is called once it has begun."""
    return f"sign out {credentials}"


def ended_run(name: str, credentials: str, what: str) -> str:
    """What a run of this name is called once it has ended; a name that a user gave it stays.

    Args:
        name: The run's name.
        credentials: The credentials that it is about.
        what: What it came to, in a few words.
    """
    begun = name.partition(_ENDED)[0]  # a run that is tried again has ended before
    ours = (renewal_run(credentials), sign_in_run(credentials), sign_out_run(credentials), FLEET_RUN)
    return f"{begun}{_ENDED}{what}" if begun in ours else name


def meant(*parameters: Mapping[str, Any]) -> str:
    """The credentials that a run is about; of several parameters the later ones count."""
    given = [each["credentials"] for each in parameters if "credentials" in each]
    return str(given[-1]) if given else DEFAULT_NAME


def is_called(name: str, begun: str) -> bool:
    """Whether a run of this name was called `begun` when it began."""
    return name.partition(_ENDED)[0] == begun
