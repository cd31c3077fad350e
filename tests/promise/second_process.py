"""A second process on the same machine: does what each line of JSON asks, and answers with the result.

It shares home, server and storage with the process that started it, and each line says what time it is.
"""

import json
import ssl
import sys
from collections.abc import Callable
from datetime import datetime
from functools import cache
from urllib.parse import parse_qs, urlsplit

from prefect.blocks.core import Block
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from etrade_flows import active_session, renew_access_token
from etrade_flows.access.memory import forget_sessions
from etrade_flows.person.login import begin_sign_in, complete_sign_in, stored_credentials
from etrade_flows.sign_out import end_session
from etrade_tasks import TokenSession
from etrade_tasks.clock import use_clock


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def sign_in(name: str) -> TokenSession:
    waiting = begin_sign_in(name)
    say(approve=parse_qs(urlsplit(waiting.authorize_url).query)["token"][0])
    return complete_sign_in(waiting, json.loads(sys.stdin.readline())["verifier"])


def sign_out(name: str) -> None:
    end_session(name, stored_credentials(name))


ACTS: dict[str, Callable[[str], TokenSession | None]] = {
    "active_session": active_session,
    "flow": renew_access_token,
    "sign in": sign_in,
    "sign out": sign_out,
    "begin day": lambda _: forget_sessions(),
}


def main() -> None:
    for line in sys.stdin:
        told = json.loads(line)
        moment = datetime.fromisoformat(told["now"])
        with use_clock(lambda moment=moment: moment):
            try:
                session = ACTS[told["do"]](told["name"])
            except Exception as error:  # noqa: BLE001  # the test reports one that is unexpected
                say(error=type(error).__name__, message=str(error))
            else:
                say(session=session.model_dump(mode="json") if session else None)


# Creating one takes 50 ms, three times as long as a renewal, and no call here needs it: all use plain HTTP.
ssl.create_default_context = cache(ssl.create_default_context)
# Prefect makes the schema anew for each field of a block that it saves, which takes most of the time.
Block.model_json_schema = classmethod(cache(Block.model_json_schema.__func__))
EventsWorker.set_client_override(NullEventsClient)
with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
    main()
