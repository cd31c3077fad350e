"""The automations that notify people about a session: the command `etrade-session alerts`.

They are installed on the Prefect server. Install them again after a change: existing ones are updated and
never doubled, and those that somebody has paused stay paused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import cast
from uuid import UUID

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import ActionTypes, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from pydantic import TypeAdapter

from etrade_flows.news.events import ONCE_LABEL
from etrade_flows.news.fleet_news import RESOURCE, FleetEvent
from etrade_flows.news.session_news import SessionEvent
from etrade_flows.runs.names import START_SIGN_IN
from etrade_tasks.errors import ETradeError

TAG = "etrade"

QUIET = timedelta(hours=26)
"""How long a trigger that has fired ignores events of the same `etrade.once`: longer than any Eastern day."""

WEEKLY = frozenset({SessionEvent.KEY_LAPSING})
"""The events that are not urgent: people are notified once a week."""

QUIET_WEEK = timedelta(days=8)
"""The same as `QUIET`, for events that are not urgent."""

SOURCE = """{% if flow_run.name %}Reported by: {{ flow_run.name }} {{ flow_run|ui_url or '' }}
{% endif %}{% if deployment.name %}Deployment: {{ flow.name }}/{{ deployment.name }}
{% endif %}"""
"""The end of every notification; an event from outside a run has no link to show."""

FACTS = (
    """
Credentials: {{ event.payload.credentials }} ({{ event.payload.environment }})
Session: {{ event.payload.session }}
"""
    + SOURCE
)
"""The end of every notification about one session."""

BODY = "{{ event.payload.message }}\n\nNext: {{ event.payload.advice }}\n" + FACTS

SIGN_IN_BODY = (
    "{{ event.payload.advice[0]|upper }}{{ event.payload.advice[1:] }}\n\n{{ event.payload.message }}\n"
    + FACTS
)
"""The person has to act, so the link comes first."""

SUBJECTS = {
    SessionEvent.SIGN_IN_REQUIRED: "E*TRADE: sign in for {{ event.payload.credentials }}",
    SessionEvent.EXPIRING: "E*TRADE: the session of {{ event.payload.credentials }} is about to end",
    SessionEvent.FAILING: "E*TRADE: the session of {{ event.payload.credentials }} cannot be renewed",
    SessionEvent.KEY_LAPSING: "E*TRADE: the key of {{ event.payload.credentials }} is about to lapse",
}
NAMES = {
    SessionEvent.SIGN_IN_REQUIRED: "E*TRADE: tell that a sign-in is due",
    SessionEvent.EXPIRING: "E*TRADE: tell that a session is about to end",
    SessionEvent.FAILING: "E*TRADE: tell that a renewal has failed",
    SessionEvent.KEY_LAPSING: "E*TRADE: tell that a consumer key is about to lapse",
}
ALL_CLEAR = "E*TRADE: tell that a session is good again"
FLEET_ALERT = "E*TRADE: tell which tokens of a fleet need somebody"
FLEET_CLEAR = "E*TRADE: tell that a whole fleet is good again"
NOTIFIERS = (*NAMES.values(), ALL_CLEAR, FLEET_ALERT, FLEET_CLEAR)
"""The names of the automations that notify, by which they are found."""

ALL_CLEAR_SUBJECT = "E*TRADE: the session of {{ event.payload.credentials }} is good again"
ALL_CLEAR_BODY = "{{ event.payload.message }}\n\nNext: nothing, all is well.\n" + FACTS

FLEET_SUBJECT = "E*TRADE: {{ event.payload.summary }}"
FLEET_BODY = (
    "{% if event.payload.sign_in %}Sign in ({{ event.payload.sign_in|length }}): "
    "{{ event.payload.sign_in|join(', ') }}\n\n{% endif %}"
    "{% for name, why in event.payload.failed.items() %}{{ name }}: {{ why }}\n{% endfor %}\n"
    "Next: {{ event.payload.advice }}\n\n" + SOURCE
)
FLEET_CLEAR_SUBJECT = "E*TRADE: all is well again, {{ event.payload.summary }}"
FLEET_CLEAR_BODY = "{{ event.payload.message }}\n\nNext: nothing, all is well.\n\n" + SOURCE

ONCE_AFTER = "Once after each alert."

SAMPLE_SUBJECT = "E*TRADE: this is a test"
SAMPLE = "Alerts about your E*TRADE sessions arrive here.\n\nNext: nothing, all is well.\n"

KEEP_OPEN_FOR = timedelta(hours=12)
"""How long a sign-in waits by default: from the first alert, at 07:00, until the evening."""


class NotificationBlockInvalid(ETradeError):
    """The notification block cannot be used; nothing was installed."""

    default_advice = "use a notification block, such as Slack Webhook (Prefect UI > Blocks)."


class NotificationFailed(ETradeError):
    """A notification could not be sent."""

    default_advice = "check that the block has the right address and secrets (Prefect UI > Blocks)."


def notifications(block: UUID, name: str) -> list[AutomationCore]:
    """The automations that notify through a block: one for each kind of alert, the all-clears and fleets.

    Args:
        block: The id of the notification block.
        name: The block as `type/name`.
    """

    def send(subject: str, body: str) -> SendNotification:
        return SendNotification(block_document_id=block, subject=subject, body=fitted(body, name))

    alerts = [
        _automation(
            NAMES[event],
            f"Once for each credentials name, {'week' if event in WEEKLY else 'Eastern day'} and cause.",
            {event},
            send(subject, SIGN_IN_BODY if event is SessionEvent.SIGN_IN_REQUIRED else BODY),
        )
        for event, subject in SUBJECTS.items()
    ]
    good = _automation(
        ALL_CLEAR,
        ONCE_AFTER,
        {SessionEvent.RENEWED, SessionEvent.SIGNED_IN},
        send(ALL_CLEAR_SUBJECT, ALL_CLEAR_BODY),
        after={SessionEvent.SIGN_IN_REQUIRED, SessionEvent.FAILING},
    )
    fleet = _automation(
        FLEET_ALERT,
        "Once for each change in who needs somebody.",
        {FleetEvent.NOT_RENEWED},
        send(FLEET_SUBJECT, FLEET_BODY),
        about=RESOURCE,
    )
    fleet_good = _automation(
        FLEET_CLEAR,
        ONCE_AFTER,
        {FleetEvent.RENEWED},
        send(FLEET_CLEAR_SUBJECT, FLEET_CLEAR_BODY),
        about=RESOURCE,
        after={FleetEvent.NOT_RENEWED},
    )
    return [*alerts, good, fleet, fleet_good]


def fitted(text: str, name: str) -> str:
    """The text in the form that a block needs.

    A block for e-mail, built on Apprise as Prefect's own is, sends text as HTML, which joins lines. Slack and
    webhooks keep them.

    Args:
        text: The text, line by line.
        name: The block as `type/name`.
    """
    return text.replace("\n", "<br>\n") if "mail" in name.partition("/")[0] else text


def sign_in_starter(deployment: UUID, keep_open_for: timedelta, *, rerun: bool) -> AutomationCore:
    """The automation that starts a sign-in, which waits for a person, once for each Eastern day and cause.

    Args:
        deployment: The id of the deployment of the flow `sign-in`.
        keep_open_for: How long the sign-in waits.
        rerun: Whether it runs again what failed because nobody was signed in.
    """
    return _automation(
        START_SIGN_IN,
        "The person who is notified then finds the sign-in waiting in the UI.",
        {SessionEvent.SIGN_IN_WANTED},
        RunDeployment(
            source="selected",
            deployment_id=deployment,
            parameters={
                "credentials": "{{ event.payload.credentials }}",
                "keep_open_for": TypeAdapter(timedelta).dump_python(keep_open_for, mode="json"),
                "rerun": rerun,
            },
            job_variables=None,
        ),
    )


def _automation(
    name: str,
    description: str,
    events: set[SessionEvent] | set[FleetEvent],
    action: ActionTypes,
    *,
    about: str = "etrade.session.*",
    after: Collection[SessionEvent | FleetEvent] = (),
) -> AutomationCore:
    """An automation that acts once on events with the same `etrade.once`, or once after each alert.

    A trigger with `after` reacts only after such an event has come. When it has fired, it waits for the next
    one (Prefect 3.8). So the hourly renewals that follow an all-clear notify nobody.
    """
    return AutomationCore(
        name=name,
        description=description,
        enabled=True,
        tags=[TAG],
        trigger=EventTrigger(
            expect={event.value for event in events},
            after={event.value for event in after},
            match=ResourceSpecification({"prefect.resource.id": about}),
            for_each={"prefect.resource.id" if after else ONCE_LABEL},
            posture=Posture.Reactive,
            threshold=1,
            within=QUIET_WEEK if after or events <= WEEKLY else QUIET,
        ),
        actions=[action],
    )


def install(client: SyncPrefectClient, wanted: list[AutomationCore]) -> Iterator[tuple[str, str]]:
    """Update the server's automations, which are found by name; yields each name and what was done."""
    for automation in wanted:
        found = client.read_automations_by_name(automation.name)
        if not found:
            client.create_automation(automation)
            yield automation.name, "created"
            continue
        current = found[0]
        kept = automation.model_copy(update={"enabled": current.enabled})
        # An update gives the trigger a new id, which loses the alerts sent so far. So update only after a
        # change.
        if current.model_dump(exclude={"id"}) == kept.model_dump():
            yield automation.name, "unchanged"
        else:
            client.update_automation(current.id, kept)
            yield automation.name, "updated"


def notification_block(client: SyncPrefectClient, name: str) -> UUID:
    """The id of the block to notify through, given as `type/name`, such as `slack-webhook/operators`.

    Raises:
        NotificationBlockInvalid: There is no such block, or it cannot notify.
    """
    slug, _, block = name.partition("/")
    try:
        document = client.read_block_document_by_name(block, slug, include_secrets=False)
    except ObjectNotFound:
        raise NotificationBlockInvalid(
            f"There is no block {name!r}.",
            advice="create it (Prefect UI > Blocks > +), or find its type and name with `prefect block ls`.",
        ) from None
    schema = document.block_schema
    if schema is None or "notify" not in schema.capabilities:
        raise NotificationBlockInvalid(f"The block {name!r} cannot notify.")
    return document.id


def send_sample(name: str) -> None:
    """Send a sample alert from this machine through a block, given as `type/name`.

    Raises:
        NotificationFailed: It was not sent. The message has only the kind of error: its text may hold the
            address.
    """
    block = cast("NotificationBlock", Block.load(name))
    try:
        with block.raise_on_failure():
            block.notify(fitted(SAMPLE, name), SAMPLE_SUBJECT)  # type: ignore[unused-coroutine]  # it is sync here
    except Exception as error:  # noqa: BLE001  # each kind of block fails in its own way
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = f"status {status}" if status else type(error).__name__
        raise NotificationFailed(f"The sample could not be sent through {name!r} ({why}).") from None


def deployment_id(client: SyncPrefectClient, name: str) -> UUID | None:
    """The id of the deployment `flow/name`; None if there is none."""
    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound:
        return None
