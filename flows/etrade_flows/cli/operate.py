"""The commands `etrade-session serve` and `alerts`, which an operator sets up once."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import get_client

from etrade_flows.cli.login import BlockName
from etrade_flows.cli.output import ExitCode, tell_of_temporary_server
from etrade_flows.cli.serving import serve as serve_flows
from etrade_flows.news.automations import (
    KEEP_OPEN_FOR,
    SAMPLE_SUBJECT,
    deployment_id,
    install,
    notification_block,
    notifications,
    send_sample,
    sign_in_starter,
)
from etrade_flows.runs.names import START_SIGN_IN
from etrade_flows.runs.server import START_SERVER, prefect_reached, server_is_temporary
from etrade_tasks.errors import PrefectUnavailable


def serve(credentials: tuple[BlockName, ...] = ()) -> int:
    """Renew on a schedule in this process, and offer the flows in the Prefect UI, until Ctrl+C.

    It needs no worker, no work pool and no checkout. Every account but `etrade` has its own deployments,
    which end in its name, such as `hourly-second`. So one process or several can serve any number of
    accounts.

    Parameters
    ----------
    credentials
        The names of the E*TRADE Credentials blocks to serve; `etrade` by default.
    """
    if server_is_temporary():
        raise PrefectUnavailable(
            "No Prefect server is set (PREFECT_API_URL), and a temporary one runs nothing on a schedule.",
            advice=START_SERVER,
        )
    with prefect_reached():
        serve_flows(credentials)
    return ExitCode.ACTIVE


def alerts(
    *,
    notify: str,
    sign_in_deployment: str = "sign-in/sign-in",
    keep_open_for: timedelta = KEEP_OPEN_FOR,
    rerun: bool = False,
    test: bool = False,
) -> int:
    """Install or update the automations that notify people about a session.

    Parameters
    ----------
    notify
        The notification block to send through, as TYPE/NAME, such as slack-webhook/operators.
    sign_in_deployment
        The deployment to start when a sign-in is due, as FLOW/NAME; left out if it does not exist.
    keep_open_for
        How long that sign-in waits for somebody, such as 6h or 90m.
    rerun
        Let that sign-in run again what failed today because nobody was signed in.
    test
        Install nothing; send a sample alert through the block instead.
    """
    tell_of_temporary_server()
    with prefect_reached(), get_client(sync_client=True) as client:
        wanted = notifications(notification_block(client, notify), notify)
        if test:
            send_sample(notify)
            print(f"sent       {SAMPLE_SUBJECT}")
            return ExitCode.ACTIVE
        sign_in = deployment_id(client, sign_in_deployment)
        if sign_in is not None:
            wanted.append(sign_in_starter(sign_in, keep_open_for, rerun=rerun))
        for name, done in install(client, wanted):
            print(f"{done:<10} {name}")
    if sign_in is None:
        print(f"left out   {START_SIGN_IN} (no deployment {sign_in_deployment})")
    return ExitCode.ACTIVE
