"""The clients for pipelines: they renew when a renewal is due, and again when a call is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from etrade_flows import etrade_async_client, etrade_client
from etrade_flows.access.clients import RevivingAuth
from etrade_simulator import AccessToken, Fault, Simulator
from etrade_tasks import AddressRefused, ETradeCredentials, SignInRequired
from etrade_tasks.clock import use_clock

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"
ACCOUNTS = "/v1/accounts/list.json"
ORDER = "/v1/accounts/any/orders/place.json"


def statuses(simulator: Simulator, path: str) -> list[int | None]:
    return [call.status for call in simulator.calls(path)]


@pytest.mark.essential
def test_client_renews_where_due_before_its_first_call(simulator: Simulator, block: str) -> None:
    """The client renews an inactive token first, so the first data call succeeds."""
    simulator.advance(timedelta(hours=3))
    with etrade_client(block) as client:
        assert 200 == client.get(ACCOUNTS).status_code
    assert ([200], [200]) == (statuses(simulator, RENEW), statuses(simulator, ACCOUNTS))


@pytest.mark.essential
def test_call_refused_as_inactive_renews_once_and_goes_on(simulator: Simulator, block: str) -> None:
    """If the token goes idle between two calls, the client renews it, and the caller never sees the 401."""
    with etrade_client(block) as client:
        client.get(ACCOUNTS)
        simulator.advance(timedelta(hours=3))
        assert 200 == client.get(ACCOUNTS).status_code
        assert 200 == client.get(ACCOUNTS).status_code
    assert [200, 401, 200, 200] == statuses(simulator, ACCOUNTS)
    assert 2 == len(statuses(simulator, RENEW))


@pytest.mark.essential
def test_async_client_does_the_same(simulator: Simulator, block: str) -> None:
    """The async client also renews first, and again when the token goes idle."""

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
    """A call whose nonce or timestamp is refused is signed again and sent again, without a renewal."""
    simulator.plant(Fault(status=401, body=refusal), path=ACCOUNTS)
    with etrade_client(block) as client:
        assert 200 == client.get(ACCOUNTS).status_code
    assert (1, [401, 200]) == (len(statuses(simulator, RENEW)), statuses(simulator, ACCOUNTS))


@pytest.mark.parametrize("status", [403, 503])
def test_other_answers_are_handed_on(simulator: Simulator, block: str, status: int) -> None:
    """The caller gets an answer that does not concern the session, and the call is not sent again."""
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
    """Just after a renewal, a 401 without a reason is about the call, so the caller gets it."""
    simulator.plant(Fault(status=401), path=ACCOUNTS, times=3)
    with etrade_client(block) as client:
        assert [401] * 3 == [client.get(ACCOUNTS).status_code for _ in range(3)]
    assert (1, 3) == (len(statuses(simulator, RENEW)), len(statuses(simulator, ACCOUNTS)))


def test_bare_refusal_later_renews(simulator: Simulator, block: str) -> None:
    """After the reuse window, a 401 without a reason may mean an inactive token, so the client renews it."""
    with etrade_client(block) as client:
        simulator.advance(timedelta(minutes=51))
        simulator.plant(Fault(status=401), path=ACCOUNTS)
        assert 200 == client.get(ACCOUNTS).status_code


def test_midnight_in_the_middle_asks_for_a_sign_in(simulator: Simulator, block: str) -> None:
    """A call after midnight raises an error that asks a person to sign in."""
    with etrade_client(block) as client:
        client.get(ACCOUNTS)
        simulator.advance(timedelta(hours=12))
        with pytest.raises(SignInRequired, match="ended at"):
            client.get(ACCOUNTS)


@pytest.mark.essential
def test_new_sign_in_in_the_middle_is_picked_up(
    simulator: Simulator, block: str, credentials_for: object
) -> None:
    """A pipeline that runs past midnight continues with the token that a person has put in the block."""
    with etrade_client(block) as client:
        client.get(ACCOUNTS)
        simulator.advance(timedelta(hours=12))
        credentials_for(simulator.sign_in("live")).save(block, overwrite=True)
        assert 200 == client.get(ACCOUNTS).status_code


def test_many_refused_calls_share_one_renewal(simulator: Simulator, block: str) -> None:
    """Calls that are refused at the same time share one renewal, and all succeed."""

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
    """A session that ends before the pipeline is done is refused without any call."""
    with pytest.raises(SignInRequired), etrade_client(block, required_for=timedelta(hours=13)):
        pass
    assert [] == simulator.calls()


def test_body_is_sent_again_whole(credentials: ETradeCredentials) -> None:
    """A request that is sent a second time keeps its body."""
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return (
            httpx.Response(200) if len(bodies) == 2 else httpx.Response(401, text="oauth_problem=nonce_used")
        )

    auth = RevivingAuth("any", credentials)
    own = f"{credentials.api_base_url}/v1"
    with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as client:
        assert 200 == client.request("GET", own, content=iter([b"a=", b"b"])).status_code
    assert [b"a=b", b"a=b"] == bodies


# A dead token --------------------------------------------------------------------------------------------

JSON = "application/json;charset=utf-8"
XML = "application/xml;charset=utf-8"
UNAUTHORIZED = "Unauthorized request - invalid Consumer key and/or session token"
SENTENCES = [
    Fault(status=401, body='{"Error":{"message":"Invalid access token used"}}', content_type=JSON),
    Fault(status=401, body="<Error><message>Invalid access token used</message></Error>", content_type=XML),
    Fault(status=500, body=f"<Error><message>{UNAUTHORIZED}</message></Error>", content_type=XML),
    Fault(status=401, body=json.dumps({"Error": {"message": UNAUTHORIZED}}), content_type=JSON),
]
REFUSALS = [
    *SENTENCES,
    *(
        Fault(status=401, body=f"oauth_problem={problem}")
        for problem in ("token_expired", "token_rejected", "token_revoked")
    ),
    Fault(status=401),
]


@pytest.fixture
def sign_in_anew(
    simulator: Simulator,
    block: str,
    credentials: ETradeCredentials,
    credentials_for: Callable[..., ETradeCredentials],
) -> Callable[[], None]:
    """Puts a new token into the block and ends the old one, as a person elsewhere does."""

    def act() -> None:
        credentials_for(simulator.sign_in("live")).save(block, overwrite=True)
        simulator.revoke(credentials.signing_keys.token)

    return act


def shown(refusal: Fault) -> str:
    return f"{refusal.status} {refusal.body}"


@pytest.mark.parametrize("refusal", REFUSALS, ids=shown)
def test_dead_token_is_replaced_by_the_one_that_the_block_holds(
    simulator: Simulator, block: str, sign_in_anew: Callable[[], None], refusal: Fault
) -> None:
    """However E*TRADE refuses a token, the client switches to another one in the block without a renewal."""
    with etrade_client(block) as client:
        sign_in_anew()
        simulator.plant(refusal, path=ACCOUNTS)
        assert [200, 200] == [client.get(ACCOUNTS).status_code for _ in range(2)]
    assert ([200], [refusal.status, 200, 200]) == (statuses(simulator, RENEW), statuses(simulator, ACCOUNTS))


def test_async_client_takes_the_new_token_too(
    simulator: Simulator, block: str, sign_in_anew: Callable[[], None]
) -> None:
    """Five calls of an async client that are refused at once all continue with the block's new token."""

    async def pipeline() -> set[int]:
        async with etrade_async_client(block) as client:
            await asyncio.to_thread(sign_in_anew)
            answers = await asyncio.gather(*(client.get(ACCOUNTS) for _ in range(5)))
        return {answer.status_code for answer in answers}

    assert {200} == asyncio.run(pipeline())
    assert [200] == statuses(simulator, RENEW)


def test_dead_token_is_replaced_by_the_one_in_the_variables(
    simulator: Simulator, credentials: ETradeCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With credentials in variables, the client switches to a token that was put there since."""
    monkeypatch.setenv("ETRADE_OAUTH_URL", simulator.oauth_url)
    monkeypatch.setenv("ETRADE_API_URL", simulator.api_url("live"))

    def hold(token: AccessToken) -> AccessToken:
        monkeypatch.setenv("ETRADE_CONSUMER_KEY", token.consumer_key)
        monkeypatch.setenv("ETRADE_CONSUMER_SECRET", token.consumer_secret)
        monkeypatch.setenv("ETRADE_ACCESS_TOKEN", token.token)
        monkeypatch.setenv("ETRADE_ACCESS_TOKEN_SECRET", token.token_secret)
        return token

    old = hold(simulator.sign_in("live"))
    with etrade_client("there-is-no-such-block") as client:
        hold(simulator.sign_in("live"))
        simulator.revoke(old)
        assert 200 == client.get(ACCOUNTS).status_code
    assert ([200], [401, 200]) == (statuses(simulator, RENEW), statuses(simulator, ACCOUNTS))


@pytest.mark.parametrize("refusal", SENTENCES, ids=shown)
def test_sentence_of_a_dead_token_renews_the_one_there_is(
    simulator: Simulator, block: str, refusal: Fault
) -> None:
    """If the block holds no other token, the client renews the one it has, and the call succeeds."""
    simulator.plant(refusal, path=ACCOUNTS)
    with etrade_client(block) as client:
        assert 200 == client.get(ACCOUNTS).status_code
    assert ([200, 200], [refusal.status, 200]) == (statuses(simulator, RENEW), statuses(simulator, ACCOUNTS))


def test_renewal_that_fails_with_500_is_no_dead_token(simulator: Simulator, block: str) -> None:
    """The sentence in a 500 means a dead token for data calls only: a renewal that gets it is tried again."""
    simulator.plant(Fault(status=500, body=UNAUTHORIZED), path=RENEW)
    with etrade_client(block):
        pass
    assert [500, 200] == statuses(simulator, RENEW)


@pytest.mark.parametrize("status", [200, 503])
def test_answer_that_refuses_no_token_can_be_streamed(simulator: Simulator, block: str, status: int) -> None:
    """If an answer does not concern the token, its body is left for the caller to read."""
    simulator.plant(Fault(status=status, body="x" * 1000), path=ACCOUNTS)
    with etrade_client(block) as client, client.stream("GET", ACCOUNTS) as answer:
        assert (status, False) == (answer.status_code, answer.is_stream_consumed)


# What is not safe to send again ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        "oauth_problem=nonce_used",
        "oauth_problem=parameter_absent&oauth_parameters_absent=oauth_nonce",
        "oauth_problem=timestamp_refused",
        "oauth_problem=token_expired",
        "Invalid access token used",
        "",
    ],
)
def test_order_is_sent_once(simulator: Simulator, block: str, refusal: str) -> None:
    """An order that E*TRADE refuses is sent once, and the caller gets the answer, whatever the reason."""
    simulator.plant(Fault(status=401, body=refusal), path=ORDER)
    with etrade_client(block) as client:
        refused = client.post(ORDER, json={"PlaceOrderRequest": {}})
        assert (401, refusal) == (refused.status_code, refused.text)
        assert [("POST", 401)] == [(call.method, call.status) for call in simulator.calls(ORDER)]
        assert 200 == client.post(ORDER, json={"PlaceOrderRequest": {}}).status_code


def test_async_order_is_sent_once(simulator: Simulator, block: str) -> None:
    """The async client sends an order once too."""
    simulator.plant(Fault(status=401, body="oauth_problem=token_expired"), path=ORDER)

    async def pipeline() -> int:
        async with etrade_async_client(block) as client:
            return (await client.post(ORDER, json={})).status_code

    assert 401 == asyncio.run(pipeline())
    assert [401] == statuses(simulator, ORDER)


def test_refused_order_revives_the_session_for_the_next_call(simulator: Simulator, block: str) -> None:
    """If the token is idle, the caller gets the refusal of the order, and the next order succeeds."""
    with etrade_client(block) as client:
        simulator.advance(timedelta(hours=3))
        assert [401, 200] == [client.post(ORDER, json={}).status_code for _ in range(2)]
    assert ([200, 200], [401, 200]) == (statuses(simulator, RENEW), statuses(simulator, ORDER))


def test_refused_order_teaches_the_clock_s_offset(simulator: Simulator, block: str) -> None:
    """If the clock is wrong, the caller gets the order's refusal, and the next order has the right time."""
    with etrade_client(block) as client, use_clock(lambda: simulator.now() - timedelta(minutes=10)):
        assert [401, 200] == [client.post(ORDER, json={}).status_code for _ in range(2)]
    assert [401, 200] == statuses(simulator, ORDER)


def test_answer_to_an_order_is_handed_on_though_the_session_is_over(
    simulator: Simulator, block: str, credentials: ETradeCredentials, caplog: pytest.LogCaptureFixture
) -> None:
    """If the session cannot be renewed, the caller still gets the order's answer, and the log says why."""
    with etrade_client(block) as client:
        simulator.revoke(credentials.signing_keys.token)
        assert 401 == client.post(ORDER, json={}).status_code
        assert "could not be renewed (SignInRequired)" in caplog.text
        with pytest.raises(SignInRequired):
            client.get(ACCOUNTS)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "post", "BREW"])
def test_any_method_but_get_and_head_is_sent_once(credentials: ETradeCredentials, method: str) -> None:
    """Only GET and HEAD are safe to send again, so every other method is sent once."""
    assert [401] == sent_by(method, credentials)


@pytest.mark.parametrize("method", ["GET", "HEAD", "get"])
def test_get_and_head_are_sent_again(credentials: ETradeCredentials, method: str) -> None:
    """GET and HEAD change nothing at E*TRADE, so they are sent once more."""
    assert [401, 200] == sent_by(method, credentials)


def sent_by(method: str, credentials: ETradeCredentials) -> list[int]:
    """The statuses that one request gets from a server that refuses the first nonce."""
    answered = []

    def answer(_: httpx.Request) -> httpx.Response:
        answered.append(200 if answered else 401)
        return httpx.Response(answered[-1], headers={"WWW-Authenticate": "OAuth oauth_problem=nonce_used"})

    auth = RevivingAuth("any", credentials)
    with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as client:
        client.request(method, f"{credentials.api_base_url}/v1")
    return answered


# Addresses that a client signs for ------------------------------------------------------------------------


@pytest.mark.parametrize("stranger", ["http://127.0.0.1:9/v1/accounts/list.json", "https://example.com/"])
def test_client_refuses_a_stranger_s_address(simulator: Simulator, block: str, stranger: str) -> None:
    """The clients for pipelines sign calls to E*TRADE and to the credentials' own address only."""

    async def ask() -> None:
        async with etrade_async_client(block) as client:
            await client.get(stranger)

    with etrade_client(block) as client, pytest.raises(AddressRefused):
        client.get(stranger)
    with pytest.raises(AddressRefused):
        asyncio.run(ask())
