# scripts in one folder, not a package: a pipeline is loaded by its path
"""What both example pipelines share: one signed call that returns data or says whether to try again.

Copy this file along with a pipeline. You may want to change `data_call`: how often Prefect retries a call,
and how long it waits in between.

Prefect stores the text of an exception, so no text here contains a header or a body. Quotes from a body are
redacted.
"""

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from prefect_etrade import Outcome, judge_answer

P = ParamSpec("P")
R = TypeVar("R")

Document = dict[str, Any]
"""A JSON object as E*TRADE sent it, except that fractions are `Decimal`, never `float`."""


PAUSES = {"accounts": 0.55, "market": 0.28}
"""Seconds between two calls of a kind: E*TRADE allows 2 a second for accounts and 4 for the market.

It counts by consumer key. If several pipelines share one, let Prefect count for all of them: create a
concurrency limit with a decay (`prefect gcl create etrade-accounts --limit 2 --slot-decay-per-second 2`) and
call `rate_limit` from `prefect.concurrency.sync` instead.
"""

_turns: dict[str, float] = {}
_turn = threading.Lock()


class DataCallFailed(Exception):
    """E*TRADE returned no data, and sending the same call again would not help."""


class DataCallUnserved(DataCallFailed):
    """E*TRADE or the network could not serve the call now, but may serve it later."""


def get_document(client: httpx.Client, path: str, **query: str | int) -> Document:
    """The document at this path; empty if E*TRADE answers that there is nothing (204).

    Args:
        client: From `etrade_client`, which signs the call and renews the token when needed.
        path: The path from `/v1/` on.
        query: The parameters after the question mark.

    Raises:
        DataCallUnserved: There was no answer, a 5xx, or the rate limit was reached.
        DataCallFailed: Any other refusal.
        ETradeError: The session has expired or cannot be renewed.
    """
    _await_turn(path)
    try:
        response = client.get(path, params=query)
    except httpx.TransportError as error:
        raise DataCallUnserved(f"GET {path} was not answered: {type(error).__name__}.") from None
    if not response.is_success:
        raise _refusal(path, response)
    if not response.content:
        return {}
    try:
        document: Document = response.json(parse_float=Decimal)
    except ValueError:  # a page for people, such as a maintenance notice
        raise DataCallUnserved(f"GET {path} was answered without JSON.") from None
    return document


def data_call(function: Callable[P, R]) -> Task[P, R]:
    """Make a task from a function that calls E*TRADE; Prefect retries it while E*TRADE does not serve it.

    There are four more attempts, about 2, 4, 8 and 16 seconds apart. Jitter keeps runs that were refused
    together from retrying together.
    """
    return task(
        name=function.__name__.replace("_", "-"),
        retries=4,
        retry_delay_seconds=exponential_backoff(2),
        retry_jitter_factor=0.5,
        retry_condition_fn=may_be_served_later,
        # An argument is a client, which holds the credentials: nothing may hash it or store its results.
        cache_policy=NO_CACHE,
        persist_result=False,
    )(function)


def may_be_served_later(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again after an attempt that ended in this state."""
    return isinstance(state.data, DataCallUnserved)


def exact(number: Decimal | int | None) -> Decimal | None:
    """A document's number as `Decimal`; E*TRADE writes whole numbers without a fraction, and omits some."""
    return None if number is None else Decimal(number)


def _await_turn(path: str) -> None:
    """Wait until this process may call again: E*TRADE refuses calls that come too soon."""
    kind = path.split("/")[2]
    with _turn:
        time.sleep(max(0.0, _turns.get(kind, 0.0) - time.monotonic()))
        _turns[kind] = time.monotonic() + PAUSES.get(kind, 0.0)


def _refusal(path: str, response: httpx.Response) -> DataCallFailed:
    # A 400 may be the rate limit; the verdict says so. The excerpt of the answer is redacted.
    verdict = judge_answer(response)
    error = DataCallUnserved if verdict.outcome is Outcome.TRANSIENT else DataCallFailed
    return error(f"GET {path} was answered with status {response.status_code}: {verdict.excerpt!r}.")
