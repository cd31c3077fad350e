"""What both example pipelines share, and how Prefect finds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from prefect import Flow
from prefect.cache_policies import NO_CACHE
from prefect.utilities.callables import parameter_schema

import market_quotes
import nightly_positions
from etrade_data import DataCallFailed, DataCallUnserved, get_document

PIPELINES = Path(market_quotes.__file__).parent
DATA_CALLS = [
    market_quotes.read_quotes,
    nightly_positions.read_accounts,
    nightly_positions.read_balance,
    nightly_positions.read_positions,
]


def answering(response: httpx.Response) -> httpx.Client:
    """A client that always gets this response."""
    return httpx.Client(transport=httpx.MockTransport(lambda _: response), base_url="https://api.etrade.com")


def test_fraction_never_becomes_a_float() -> None:
    """A number with a fraction is read exactly, even if a float would round it."""
    with answering(httpx.Response(200, text='{"a": 0.1000000000000000055, "b": 3}')) as client:
        document = get_document(client, "/v1/any.json")
    assert {"a": Decimal("0.1000000000000000055"), "b": 3} == document


def test_nothing_there_is_an_empty_document() -> None:
    """An answer without content is an empty document."""
    with answering(httpx.Response(204)) as client:
        assert {} == get_document(client, "/v1/any.json")


def test_error_shows_what_was_answered_redacted() -> None:
    """The error shows the call, the status and the answer, but not the token that the answer echoes."""
    answer = httpx.Response(500, text="cannot serve oauth_token=fake-token")
    with answering(answer) as client, pytest.raises(DataCallUnserved) as failed:
        get_document(client, "/v1/any.json")
    told = "GET /v1/any.json was answered with status 500: 'cannot serve oauth_token=[redacted]'."
    assert told == str(failed.value)


def test_call_without_an_answer_is_worth_another() -> None:
    """If the connection breaks before the answer, the error says so and that another attempt may help."""

    def drop(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("fake", request=request)

    with (
        httpx.Client(transport=httpx.MockTransport(drop), base_url="https://api.etrade.com") as client,
        pytest.raises(DataCallUnserved, match="was not answered: ReadError"),
    ):
        get_document(client, "/v1/any.json")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, "Number of requests exceeded the rate limit set", DataCallUnserved),
        (429, "", DataCallUnserved),
        (500, "unwell", DataCallUnserved),
        (503, "oauth_problem=token_rejected", DataCallUnserved),
        (200, "<h1>Down for maintenance</h1>", DataCallUnserved),
        (302, "", DataCallFailed),  # a signed call cannot follow a redirect
        (400, "issue with input", DataCallFailed),
        (401, "oauth_problem=token_rejected", DataCallFailed),
        (403, "", DataCallFailed),
        (404, "", DataCallFailed),
    ],
)
def test_answer_says_whether_to_try_again(status: int, body: str, error: type[DataCallFailed]) -> None:
    """The rate limit, a 5xx and a page instead of data are worth another attempt; other refusals are not."""
    with answering(httpx.Response(status, text=body)) as client, pytest.raises(DataCallFailed) as failed:
        get_document(client, "/v1/any.json")
    assert error is type(failed.value)


def test_attempts_are_spaced_and_nothing_is_stored() -> None:
    """A data call is tried up to five times, with growing pauses, and its result is stored nowhere."""
    for call in DATA_CALLS:
        assert (4, [2, 4, 8, 16], 0.5) == (call.retries, call.retry_delay_seconds, call.retry_jitter_factor)
        assert (False, NO_CACHE) == (call.persist_result, call.cache_policy)


@pytest.mark.parametrize(
    ("pipeline", "names"),
    [
        (market_quotes.market_quotes, ["credentials", "symbols", "folder", "only_in_market_hours"]),
        (nightly_positions.nightly_positions, ["credentials", "database"]),
    ],
)
def test_run_form_explains_each_parameter(pipeline: Flow, names: list[str]) -> None:
    """Each parameter has a default and a description, which the run form of the Prefect UI shows."""
    properties = parameter_schema(pipeline).model_dump()["properties"]
    assert names == list(properties)
    assert [] == [name for name, each in properties.items() if not (each["description"] and each["default"])]


def test_prefect_loads_the_pipelines_by_their_paths(run_python: Callable[..., str]) -> None:
    """A process that knows only the path, as a worker does, loads a flow and the modules beside it."""
    program = (
        "import json, sys; from prefect.flows import load_flow_from_entrypoint; "
        "print(json.dumps([load_flow_from_entrypoint(each).name for each in sys.argv[1:]]))"
    )
    names = ["market_quotes", "nightly_positions"]
    entrypoints = [f"{PIPELINES / name}.py:{name}" for name in names]
    printed = run_python("-c", program, *entrypoints).splitlines()
    assert [name.replace("_", "-") for name in names] == json.loads(printed[-1])
