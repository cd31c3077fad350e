#!/usr/bin/env python
"""Installs the automations that tell people of a session: `python deployments/automations/install.py --help`.

They go to the Prefect server in use. Run it again after a change: what is there already is brought up to date
and never doubled, and what somebody has paused stays paused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import ActionTypes, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from pydantic import TypeAdapter, ValidationError

from etrade_flows.automation_names import NAMES
from etrade_flows.events import ONCE_LABEL
from etrade_flows.session_news import SessionEvent

TAG = "etrade"

QUIET = timedelta(hours=26)
"""How long a trigger that fired ignores events of the same `etrade.once`: more than any Eastern day lasts."""

WEEKLY = frozenset({SessionEvent.KEY_LAPSING})
"""What has no hurry, and is told once a week."""

QUIET_WEEK = timedelta(days=8)
"""As `QUIET`, for what is told once a week."""

FACTS = """
Credentials: {{ event.payload.credentials }} ({{ event.payload.environment }})
Session: {{ event.payload.session }}
{% if flow_run.name %}Run: {{ flow_run.name }} {{ flow_run|ui_url or '' }}
{% endif %}{% if deployment.name %}Deployment: {{ flow.name }}/{{ deployment.name }}
{% endif %}"""
"""What every notification ends with; an event from outside of a run has no link to show."""

BODY = "{{ event.payload.message }}\n\nNext: {{ event.payload.advice }}\n" + FACTS

SUBJECTS = {
    SessionEvent.SIGN_IN_REQUIRED: "E*TRADE: sign in for {{ event.payload.credentials }}",
    SessionEvent.EXPIRING: "E*TRADE: the session of {{ event.payload.credentials }} is about to end",
    SessionEvent.FAILING: "E*TRADE: the session of {{ event.payload.credentials }} cannot be renewed",
    SessionEvent.KEY_LAPSING: "E*TRADE: the key of {{ event.payload.credentials }} is about to lapse",
}
START_SIGN_IN = "E*TRADE: start the sign-in"


KEEP_OPEN_FOR = timedelta(hours=12)
"""How long a sign-in waits unless told otherwise: from the night's first renewal, at 01:00, until midday."""

DURATION = TypeAdapter(timedelta)
"""Reads and writes ISO 8601 durations."""


class InstallError(Exception):
    """Nothing was installed; the message says why and what to do."""


def notifications(block: UUID) -> list[AutomationCore]:
    """The automations that notify through a block, one for each kind of alert.

    Args:
        block: The id of the notification block.
    """
    return [
        _automation(
            NAMES[event],
            f"Once for each credentials name, {'week' if event in WEEKLY else 'Eastern day'} and cause.",
            event,
            SendNotification(block_document_id=block, subject=subject, body=BODY),
        )
        for event, subject in SUBJECTS.items()
    ]


def sign_in_starter(deployment: UUID, keep_open_for: timedelta, *, rerun: bool) -> AutomationCore:
    """The automation that has a sign-in wait for a person, once for each Eastern day and cause.

    Args:
        deployment: The id of the deployment of the flow `sign-in`.
        keep_open_for: How long it waits.
        rerun: Whether what failed for want of the sign-in is run again afterwards.
    """
    return _automation(
        START_SIGN_IN,
        "So that the person who is told finds the sign-in waiting in the UI.",
        SessionEvent.SIGN_IN_REQUIRED,
        RunDeployment(
            source="selected",
            deployment_id=deployment,
            parameters={
                "credentials": "{{ event.payload.credentials }}",
                "keep_open_for": DURATION.dump_python(keep_open_for, mode="json"),
                "rerun": rerun,
            },
            job_variables=None,
        ),
    )


def _automation(name: str, description: str, event: SessionEvent, action: ActionTypes) -> AutomationCore:
    return AutomationCore(
        name=name,
        description=description,
        enabled=True,
        tags=[TAG],
        trigger=EventTrigger(
            expect={event.value},
            match=ResourceSpecification({"prefect.resource.id": "etrade.session.*"}),
            for_each={ONCE_LABEL},
            posture=Posture.Reactive,
            threshold=1,
            within=QUIET_WEEK if event in WEEKLY else QUIET,
        ),
        actions=[action],
    )


def install(client: SyncPrefectClient, wanted: list[AutomationCore]) -> Iterator[tuple[str, str]]:
    """Bring the server's automations up to date; yields each one's name and what was done.

    Args:
        client: The server.
        wanted: What shall be there; an automation is known by its name.
    """
    for automation in wanted:
        found = client.read_automations_by_name(automation.name)
        if not found:
            client.create_automation(automation)
            yield automation.name, "created"
            continue
        current = found[0]
        kept = automation.model_copy(update={"enabled": current.enabled})
        # An update gives the trigger a new id and so forgets which alerts were given: none without a change.
        if current.model_dump(exclude={"id"}) == kept.model_dump():
            yield automation.name, "unchanged"
        else:
            client.update_automation(current.id, kept)
            yield automation.name, "updated"


def notification_block(client: SyncPrefectClient, name: str) -> UUID:
    """The id of the block to notify through.

    Args:
        client: The server.
        name: The block as `type/name`, such as `slack-webhook/operators`.

    Raises:
        InstallError: There is no such block, or it cannot notify.
    """
    slug, _, block = name.partition("/")
    try:
        document = client.read_block_document_by_name(block, slug, include_secrets=False)
    except ObjectNotFound:
        raise InstallError(
            f"There is no block {name!r}. Next: create it (Prefect UI > Blocks > +), or look up its type "
            "and name with `prefect block ls`."
        ) from None
    schema = document.block_schema
    if schema is None or "notify" not in schema.capabilities:
        raise InstallError(
            f"The block {name!r} cannot notify. Next: take a notification block, such as Slack Webhook."
        )
    return document.id


def deployment_id(client: SyncPrefectClient, name: str) -> UUID | None:
    """The id of the deployment `flow/name`; None if there is none."""
    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound:
        return None


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Install the automations that tell people of a session.")
    parser.add_argument(
        "--notify",
        metavar="TYPE/NAME",
        required=True,
        help="the notification block, such as slack-webhook/operators",
    )
    parser.add_argument(
        "--sign-in-deployment",
        metavar="FLOW/NAME",
        default="sign-in/on-demand",
        help="the deployment to start when a sign-in is due (%(default)s); left out where it does not exist",
    )
    parser.add_argument(
        "--keep-open-for",
        metavar="DURATION",
        type=_duration,
        default=KEEP_OPEN_FOR,
        help="how long that sign-in waits for somebody, as an ISO 8601 duration (twelve hours: PT12H)",
    )
    parser.add_argument(
        "--rerun",
        action="store_true",
        help="have that sign-in run again what failed today because nobody was signed in",
    )
    return parser.parse_args(arguments)


def _duration(text: str) -> timedelta:
    try:
        return DURATION.validate_python(text)
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 duration, such as PT12H") from None


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; 0 if it was done."""
    options = _options(arguments)
    with get_client(sync_client=True) as client:
        try:
            wanted = notifications(notification_block(client, options.notify))
        except InstallError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        sign_in = deployment_id(client, options.sign_in_deployment)
        if sign_in is not None:
            wanted.append(sign_in_starter(sign_in, options.keep_open_for, rerun=options.rerun))
        for name, done in install(client, wanted):
            sys.stdout.write(f"{done:<10} {name}\n")
    if sign_in is None:
        sys.stdout.write(f"left out   {START_SIGN_IN} (no deployment {options.sign_in_deployment})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
