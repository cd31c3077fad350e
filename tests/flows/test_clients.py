"""The pipeline's clients: renewed where due, revived when refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest

from etrade_flows import etrade_async_client, etrade_client
from etrade_flows.clients import RevivingAuth
from etrade_simulator import Fault, Simulator
from etrade_tasks import ETradeCredentials, SignInRequired

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"
ACCOUNTS = "/v1/accounts/list.json"


def statuses(simulator: Simulator, path: str) -> list[int | None]:
    return [call.status for call in simulator.calls(path)]


def test_client_renews_where_due_before_its_first_call(simulator: Simulator, block: str) -> None:
    """A token that went inactive is renewed first, so that the first data call is served."""
    simulator.advance(timedelta(hours=3))
    with etrade_client(block) as client:
        assert 200 == client.get(ACCOUNTS).status_code
    assert ([200], [200]) == (statuses(simulator, RENEW), statuses(simulator, ACCOUNTS))


def test_call_refused_as_inactive_renews_once_and_goes_on(simulator: Simulator, block: str) -> None:
    """A token that dies in the middle is revived, and the caller sees the served call only."""
    with etrade_client(block) as client:
        client.get(ACCOUNTS)
        simulator.advance(timedelta(hours=3))
        assert 200 == client.get(ACCOUNTS).status_code
        assert 200 == client.get(ACCOUNTS).status_code
    assert [200, 401, 200, 200] == statuses(simulator, ACCOUNTS)
    assert 2 == len(statuses(simulator, RENEW))


def test_async_client_does_the_same(simulator: Simulator, block: str) -> None:
    """The async client renews first, revives in the middle and goes on."""

    async def pipeline() -> list[int]:
        async with etrade_async_client(block) as client:
            first = await client.get(ACCOUNTS)
            simulator.advance(timedelta(hours=3))
            second = await client.get(ACCOUNTS)
        return [first.status_code, second.status_code]

    assert [200, 200] == asyncio.run(pipeline())
    assert [200, 401, 200] == statuses(simulator, ACCOUNTS)


@pytest.mark.parametrize(
    "refusal", ["oauth_problem=nonce_used", "oauth_problem=timestamp_refused"], ids=["nonce", "timestamp"]
)
def test_refused_signature_is_made_anew(simulator: Simulator, block: str, refusal: str) -> None:
    """A call whose nonce or timestamp was refused is signed anew and sent again, without a renewal."""
    simulator.plant(Fault(status=401, body=refusal), path=ACCOUNTS)
    with etrade_client(block) as client:
        assert 200 == client.get(ACCOUNTS).status_code
    assert (1, [401, 200]) == (len(statuses(simulator, RENEW)), statuses(simulator, ACCOUNTS))


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_other_answers_are_handed_on(simulator: Simulator, block: str, status: int) -> None:
    """What says nothing of the session is the caller's to handle, and is not sent again."""
    simulator.plant(Fault(status=status, body="something else"), path=ACCOUNTS)
    with etrade_client(block) as client:
        assert status == client.get(ACCOUNTS).status_code
    assert [status] == statuses(simulator, ACCOUNTS)


def test_second_refusal_is_handed_on(simulator: Simulator, block: str) -> None:
    """A call that is refused again after the renewal is not sent a third time."""
    simulator.plant(Fault(status=401, body="oauth_problem=token_rejected"), path=ACCOUNTS, times=2)
    with etrade_client(block) as client:
        assert 401 == client.get(ACCOUNTS).status_code
    assert [401, 401] == statuses(simulator, ACCOUNTS)


def test_bare_refusal_while_a_renewal_vouches_is_handed_on(simulator: Simulator, block: str) -> None:
    """E*TRADE has just confirmed the token, so a 401 without a reason is about the call, not the session."""
    simulator.plant(Fault(status=401), path=ACCOUNTS, times=3)
    with etrade_client(block) as client:
        assert [401] * 3 == [client.get(ACCOUNTS).status_code for _ in range(3)]
    assert (1, 3) == (len(statuses(simulator, RENEW)), len(statuses(simulator, ACCOUNTS)))


def test_bare_refusal_later_renews(simulator: Simulator, block: str) -> None:
    """Past the reuse window a 401 without a reason may mean an inactive token, and is tried again."""
    with etrade_client(block) as client:
        simulator.advance(timedelta(minutes=51))
        simulator.plant(Fault(status=401), path=ACCOUNTS)
        assert 200 == client.get(ACCOUNTS).status_code


def test_served_answer_can_be_streamed(simulator: Simulator, block: str) -> None:
    """The body of an answer that was served is left to the caller, who may not want it whole."""
    with etrade_client(block) as client, client.stream("GET", ACCOUNTS) as answer:
        assert False is answer.is_stream_consumed


def test_midnight_in_the_middle_asks_for_a_sign_in(simulator: Simulator, block: str) -> None:
    """A call after midnight raises what a person must do."""
    with etrade_client(block) as client:
        client.get(ACCOUNTS)
        simulator.advance(timedelta(hours=12))
        with pytest.raises(SignInRequired, match="ended at"):
            client.get(ACCOUNTS)


def test_new_sign_in_in_the_middle_is_picked_up(
    simulator: Simulator, block: str, credentials_for: object
) -> None:
    """A pipeline that runs past midnight goes on with the token that a person has put in the block."""
    with etrade_client(block) as client:
        client.get(ACCOUNTS)
        simulator.advance(timedelta(hours=12))
        credentials_for(simulator.sign_in("live")).save(block, overwrite=True)
        assert 200 == client.get(ACCOUNTS).status_code


def test_many_refused_calls_share_one_renewal(simulator: Simulator, block: str) -> None:
    """Calls that are refused at the same time are all served by one renewal."""

    async def pipeline() -> set[int]:
        async with etrade_async_client(block) as client:
            simulator.advance(timedelta(hours=3))
            simulator.plant(
                Fault(delay=0.5, status=401, body="oauth_problem=token_expired"), path=ACCOUNTS, times=5
            )
            answers = await asyncio.gather(*(client.get(ACCOUNTS) for _ in range(5)))
        return {answer.status_code for answer in answers}

    assert {200} == asyncio.run(pipeline())
    assert 2 == len(statuses(simulator, RENEW))


def test_required_time_is_checked_before_the_first_call(simulator: Simulator, block: str) -> None:
    """A session that ends sooner than the pipeline needs it is refused without any call."""
    with pytest.raises(SignInRequired), etrade_client(block, required_for=timedelta(hours=13)):
        pass
    assert [] == simulator.calls()


def test_body_is_sent_again_whole(credentials: ETradeCredentials) -> None:
    """A request with a body keeps it when it is sent a second time."""
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return (
            httpx.Response(200) if len(bodies) == 2 else httpx.Response(401, text="oauth_problem=nonce_used")
        )

    auth = RevivingAuth("any", credentials)
    with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as client:
        assert 200 == client.post("https://api.etrade.com/v1/orders", content=iter([b"a=", b"b"])).status_code
    assert [b"a=b", b"a=b"] == bodies
