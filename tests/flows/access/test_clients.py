"""The clients for pipelines: they renew when a renewal is due, and again when a call is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from etrade_flows import etrade_async_client, etrade_client
from etrade_flows.access.clients import RevivingAuth
from etrade_simulator import AccessToken, Fault, Simulator
from etrade_tasks import AddressRefused, ETradeCredentials, SignInRequired
from etrade_tasks.clock import use_clock
from etrade_tasks.credentials import environment_of

pytestmark = pytest.mark.usefixtures("quick_flows", "quick_retries", "empty_memory")

RENEW = "/oauth/renew_access_token"
ACCOUNTS = "/v1/accounts/list.json"
ORDER = "/v1/accounts/any/orders/place.json"


def statuses(simulator: Simulator, path: str) -> list[int | None]:
    return [call.status for call in simulator.calls(path)]


@pytest.mark.essential
def test_idle_token_is_renewed_before_the_first_call_and_between_calls(
    simulator: Simulator, block: str
) -> None:
    """The client renews an idle token before its first call and after a refused one: nobody sees a 401."""
    simulator.advance(timedelta(hours=3))
    with etrade_client(block) as client:
        assert 200 == client.get(ACCOUNTS).status_code
        assert ([200], [200]) == (statuses(simulator, RENEW), statuses(simulator, ACCOUNTS))
        simulator.advance(timedelta(hours=3))
        assert [200, 200] == [client.get(ACCOUNTS).status_code for _ in range(2)]
    assert ([200, 200], [200, 401, 200, 200]) == (statuses(simulator, RENEW), statuses(simulator, ACCOUNTS))


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
    """After the reuse window, a 401 without a reason may mean an idle token, so the client renews it."""
    with etrade_client(block) as client:
        simulator.advance(timedelta(minutes=51))
        simulator.plant(Fault(status=401), path=ACCOUNTS)
        assert 200 == client.get(ACCOUNTS).status_code


@pytest.mark.essential
def test_new_sign_in_in_the_middle_is_picked_up(
    simulator: Simulator, block: str, credentials_for: Callable[..., ETradeCredentials]
) -> None:
    """A call after midnight asks for a sign-in, and works once a person has put a new token in the block."""
    with etrade_client(block) as client:
        client.get(ACCOUNTS)
        simulator.advance(timedelta(hours=12))
        with pytest.raises(SignInRequired, match="ended at"):
            client.get(ACCOUNTS)
        credentials_for(simulator.sign_in("live")).save(block, overwrite=True)
        assert 200 == client.get(ACCOUNTS).status_code


@pytest.mark.essential
def test_many_refused_calls_share_one_renewal(simulator: Simulator, block: str) -> None:
    """The async client renews first; calls that are refused at the same time share another renewal."""

    async def pipeline() -> set[int]:
        async with etrade_async_client(block) as client:
            simulator.advance(timedelta(hours=3))
            simulator.plant(
                Fault(delay=0.5, status=401, body="oauth_problem=token_expired"), path=ACCOUNTS, times=5
            )
            answers = await asyncio.gather(*(client.get(ACCOUNTS) for _ in range(5)))
        return {answer.status_code for answer in answers}

    assert {200} == asyncio.run(pipeline())
    assert ([200] * 2, 10) == (statuses(simulator, RENEW), len(statuses(simulator, ACCOUNTS)))


def test_required_time_is_checked_before_the_first_call(simulator: Simulator, block: str) -> None:
    """A session that ends before the pipeline is done is refused without any call."""
    with pytest.raises(SignInRequired), etrade_client(block, required_for=timedelta(hours=13)):
        pass
    assert [] == simulator.calls()


# A dead token --------------------------------------------------------------------------------------------

JSON = "application/json;charset=utf-8"
XML = "application/xml;charset=utf-8"
UNAUTHORIZED = "Unauthorized request - invalid Consumer key and/or session token"
SENTENCES = [
    Fault(status=401, body='{"Error":{"message":"Invalid access token used"}}', content_type=JSON),
    Fault(status=500, body=f"<Error><message>{UNAUTHORIZED}</message></Error>", content_type=XML),
]
REFUSALS = [*SENTENCES, Fault(status=401, body="oauth_problem=token_rejected"), Fault(status=401)]


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
    simulator: Simulator, credentials_for: Callable[..., ETradeCredentials], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With credentials in variables, the client switches to a token that was put there since."""

    def hold(token: AccessToken) -> AccessToken:
        for name, value in environment_of(credentials_for(token)).items():
            monkeypatch.setenv(name, value)
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


# What is not safe to send again ---------------------------------------------------------------------------


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


# Without a server: what one call gets, and what is sent for it ----------------------------------------------


Sent = list[tuple[str, bytes]]


@pytest.fixture
def sent() -> Sent:
    """What went out: the signature and the body of each request."""
    return []


@pytest.fixture
def client(credentials: ETradeCredentials, sent: Sent) -> Callable[..., httpx.Client]:
    """Makes a client of an API that refuses the first request, by default its nonce, and serves the next.

    No credentials have the client's name, so a renewal would raise.
    """

    def make(status: int = 401, problem: str = "nonce_used") -> httpx.Client:
        header = {"WWW-Authenticate": f"OAuth oauth_problem={problem}"} if problem else {}

        class Api(httpx.BaseTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                sent.append((request.headers["Authorization"], b"".join(request.stream)))
                if len(sent) > 1:
                    return httpx.Response(200)
                return httpx.Response(status, headers=header, content=iter([b"x"]))

        auth = RevivingAuth("any", credentials)
        return httpx.Client(transport=Api(), auth=auth, base_url=credentials.api_base_url)

    return make


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "post", "BREW"])
def test_any_method_but_get_and_head_is_sent_once(
    client: Callable[..., httpx.Client], method: str, sent: Sent
) -> None:
    """Only GET and HEAD are safe to send again, so any other call gets the refusal itself."""
    with client() as made:
        assert (401, "x") == ((answer := made.request(method, ACCOUNTS)).status_code, answer.text)
    assert 1 == len(sent)


@pytest.mark.parametrize(
    ("method", "problem"), [("GET", "nonce_used"), ("HEAD", "nonce_used"), ("get", "timestamp_refused")]
)
def test_get_and_head_are_sent_again(
    client: Callable[..., httpx.Client], method: str, problem: str, sent: Sent
) -> None:
    """If nonce or timestamp is refused, a GET or HEAD is signed anew and sent whole, without a renewal."""
    with client(401, problem) as made:
        assert 200 == made.request(method, ACCOUNTS, content=iter([b"a=", b"b"])).status_code
    assert 2 == len({signature for signature, _ in sent})
    assert [b"a=b"] * 2 == [body for _, body in sent]


@pytest.mark.parametrize(("status", "is_read"), [(200, False), (503, False), (403, True)])
def test_other_answers_are_handed_on(
    client: Callable[..., httpx.Client], status: int, is_read: bool, sent: Sent
) -> None:
    """An answer that refuses no token is not asked for again, and most are left for the caller to stream."""
    with client(status, "") as made, made.stream("GET", ACCOUNTS) as answer:
        assert (status, is_read) == (answer.status_code, answer.is_stream_consumed)
    assert 1 == len(sent)


@pytest.mark.parametrize("stranger", ["http://127.0.0.1:9/v1/accounts/list.json", "https://example.com/"])
def test_client_refuses_a_stranger_s_address(
    client: Callable[..., httpx.Client], stranger: str, sent: Sent
) -> None:
    """The clients for pipelines sign calls to E*TRADE and to the credentials' own address only."""
    with client() as made, pytest.raises(AddressRefused):
        made.get(stranger)
    assert [] == sent
