"""The names of our flows and their runs in Prefect.

When a run ends, its name says the result, such as `renew etrade: reused until 13:20`, because Prefect's lists
of runs show the name and no message. Code reads the tags instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.client.schemas.filters import FlowFilter
from pydantic import Field

from etrade_tasks.credentials import DEFAULT_NAME

RENEWAL = "renew-access-token"
FLEET = "renew-fleet"
SIGN_IN = "sign-in"
SIGN_OUT = "sign-out"

SECOND_TRY = "second-try-of-"
"""The prefix of a second try's idempotency key; the id of the failed run follows."""

START_SIGN_IN = "E*TRADE: start the sign-in"
"""The automation that starts a sign-in, which waits for a person."""

FLEET_RUN = "renew fleet"
"""The name of a run of `renew-fleet` when it begins."""

_ENDED = ": "


def flow_called(name: str) -> FlowFilter:
    """A filter for the flow of that name, for a question to the Prefect server."""
    return FlowFilter.model_validate({"name": {"any_": [name]}})


def titled(title: str) -> Any:  # noqa: ANN401  # as pydantic's own `Field`
    """The label of a parameter in the Prefect UI's run form, for its `Annotated`.

    Prefect replaces a field's title with the parameter's name. Only what is put into the schema last stays
    (Prefect 3.8 and 3.9).
    """
    return Field(json_schema_extra={"title": title})


def renewal_run(credentials: str) -> str:
    """The name of a run of `renew-access-token` when it begins."""
    return f"renew {credentials}"


def sign_in_run(credentials: str) -> str:
    """The name of a run of `sign-in` when it begins."""
    return f"sign in {credentials}"


def sign_out_run(credentials: str) -> str:
    """The name of a run of `sign-out` when it begins."""
    return f"sign out {credentials}"


def ended_run(name: str, credentials: str, what: str) -> str:
    """The name of a run when it has ended; a name that a user gave it stays.

    Args:
        name: The run's current name.
        credentials: The credentials that it is about.
        what: Its result, in a few words.
    """
    begun = name.partition(_ENDED)[0]  # a retried run has ended before
    ours = (renewal_run(credentials), sign_in_run(credentials), sign_out_run(credentials), FLEET_RUN)
    return f"{begun}{_ENDED}{what}" if begun in ours else name


def meant(*parameters: Mapping[str, Any]) -> str:
    """The credentials that a run is about; later parameters override earlier ones."""
    given = [each["credentials"] for each in parameters if "credentials" in each]
    return str(given[-1]) if given else DEFAULT_NAME


def is_called(name: str, begun: str) -> bool:
    """Whether a run of this name had the name `begun` when it began."""
    return name.partition(_ENDED)[0] == begun
