"""Callers get a run's result even if the server's answer to its final state is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prefect import flow

from etrade_flows import renew_access_token, renew_fleet
from etrade_simulator import Simulator
from etrade_tasks import SignInRequired, TokenSession, TokensNotRenewed

pytestmark = pytest.mark.usefixtures("quick_flows", "empty_memory")

FINAL = {"COMPLETED", "FAILED"}


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Loses the first answer to each final state: the server has the state, and the client asks again."""
    taken: list[str] = []
    send = httpx.Client.send

    def sent(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send(client, request, **options)
        path = request.url.path
        asks = path.endswith("/set_state") and path not in taken
        if not asks or json.loads(request.content)["state"]["type"] not in FINAL:
            return response
        taken.append(path)
        return httpx.Response(503, headers={"Retry-After": "0"}, request=request)

    monkeypatch.setattr(httpx.Client, "send", sent)
    return taken


def test_session_reaches_who_called_the_flow(simulator: Simulator, block: str, lost: list[str]) -> None:
    """The caller of a renewal gets its session, as a result or in the state, and so does a calling flow."""

    @flow
    def pipeline() -> TokenSession:
        return renew_access_token(block)

    assert isinstance(renew_access_token(block), TokenSession)
    assert True is renew_access_token(block, return_state=True).result().reused
    assert isinstance(pipeline(), TokenSession)
    assert 4 == len(lost)


def test_error_reaches_who_called_the_flow(simulator: Simulator, signed_out: str, lost: list[str]) -> None:
    """The caller of a renewal that fails gets its error, with all of its facts."""
    with pytest.raises(SignInRequired) as raised:
        renew_access_token(signed_out)
    assert (signed_out, 1) == (raised.value.credentials, len(lost))


def test_sessions_and_errors_of_a_fleet_reach_its_caller(
    simulator: Simulator, save: Callable[..., str], lost: list[str]
) -> None:
    """The caller of a fleet gets the sessions or the one error."""
    good, out = save("good"), save("out", access_token=None, access_token_secret=None)
    assert [good] == list(renew_fleet([good]))
    with pytest.raises(TokensNotRenewed) as raised:
        renew_fleet([good, out])
    assert (1, [out], 2) == (raised.value.good, list(raised.value.errors), len(lost))
