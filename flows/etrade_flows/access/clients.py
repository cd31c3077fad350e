"""Clients for a pipeline. They renew the session before the first call, and again when a call is refused.

Only GET and HEAD are sent again, and only once. If E*TRADE accepts an order but its answer is an error,
sending the order again would place it twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import httpx

from etrade_flows.access.memory import recall
from etrade_flows.access.renewal import active_session, revived_session
from etrade_flows.runs.best_effort import best_effort
from etrade_tasks.clock import now
from etrade_tasks.credentials import DEFAULT_NAME, ETradeCredentials
from etrade_tasks.load_credentials import load_credentials
from etrade_tasks.oauth.replies import Outcome, RenewalReply, Verdict, classify, says_token_is_dead
from etrade_tasks.oauth.signature import ETradeAuth, SigningKeys

SAFE_METHODS = frozenset({"GET", "HEAD"})
"""The methods that may be sent a second time (RFC 9110, section 9.2.1)."""


@contextmanager
def etrade_client(
    credentials: str = DEFAULT_NAME, *, required_for: timedelta = timedelta(0)
) -> Iterator[httpx.Client]:
    """A signed client with an active session, inside the `with` block.

    It first renews the session if needed. If E*TRADE refuses the token of a call, the client loads the token
    that the credentials hold now, or renews its own, and sends a GET or HEAD once more. It does the same if
    the nonce or the timestamp was refused. It never sends any other call, such as an order, again: you get
    the answer as it is, and the next call has a renewed session. You also get every other answer and every
    redirect.

    Open the client where you use it. As a task's argument, Prefect would hash it for the cache, unless the
    task has `cache_policy=NO_CACHE`.

    Example:
        ```python
        with etrade_client("etrade") as client:
            accounts = client.get("/v1/accounts/list.json").raise_for_status().json()
        ```

    Args:
        credentials: The name of the E*TRADE Credentials block.
        required_for: How much longer the session must last.

    Raises:
        ETradeError: As `renew_access_token` raises, here or at a GET or HEAD that finds the session over.
        AddressRefused: A call goes neither to E*TRADE nor to the API address of the credentials.
    """
    active_session(credentials, required_for=required_for)
    loaded = load_credentials.fn(credentials)
    with loaded.get_client() as client:
        client.auth = RevivingAuth(credentials, loaded)
        yield client


@asynccontextmanager
async def etrade_async_client(
    credentials: str = DEFAULT_NAME, *, required_for: timedelta = timedelta(0)
) -> AsyncIterator[httpx.AsyncClient]:
    """The same as `etrade_client`, for async code. Renewing does not block the event loop."""
    await asyncio.to_thread(active_session, credentials, required_for=required_for)
    loaded = await asyncio.to_thread(load_credentials.fn, credentials)
    async with loaded.get_async_client() as client:
        client.auth = RevivingAuth(credentials, loaded)
        yield client


class RevivingAuth(httpx.Auth):
    """Signs each request, and sends a safe one once more if another token or signature can help.

    Args:
        name: The name of the credentials to renew.
        credentials: The credentials to sign with at first. They are loaded again whenever the token is
            refused, because somebody may have signed in meanwhile.
    """

    def __init__(self, name: str, credentials: ETradeCredentials) -> None:
        self._name = name
        self._api_url = credentials.api_base_url
        self._keys = credentials.signing_keys
        self._clock_offset = timedelta(0)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the signed request, and yield it again if the first answer allows it."""
        request.read()
        keys, sent_at = self._keys, time.monotonic()
        answer = yield self._signed(request, keys)
        if _may_refuse_the_token(answer):
            answer.read()
            if self._may_be_sent_again(answer, keys, sent_at):
                yield self._signed(request, self._keys)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The same as `sync_auth_flow`, but credentials are loaded and renewed in a thread."""
        await request.aread()
        keys, sent_at = self._keys, time.monotonic()
        answer = yield self._signed(request, keys)
        if _may_refuse_the_token(answer):
            await answer.aread()
            if await asyncio.to_thread(self._may_be_sent_again, answer, keys, sent_at):
                yield self._signed(request, self._keys)

    def _signed(self, request: httpx.Request, keys: SigningKeys) -> httpx.Request:
        auth = ETradeAuth(keys, api_url=self._api_url, clock_offset=self._clock_offset)
        return next(auth.auth_flow(request))

    def _may_be_sent_again(self, answer: httpx.Response, keys: SigningKeys, sent_at: float) -> bool:
        """Correct what E*TRADE refused, and return whether to send the request again.

        Raises:
            ETradeError: The session of a safe request cannot be renewed.
        """
        method = answer.request.method
        if method in SAFE_METHODS:
            return self._mend(answer, keys, sent_at)
        # The caller needs an order's answer more than the reason why the next call will be refused.
        with best_effort(f"E*TRADE refused a {method}, and the session could not be renewed"):
            self._mend(answer, keys, sent_at)
        return False

    def _mend(self, answer: httpx.Response, keys: SigningKeys, sent_at: float) -> bool:
        """Whether the next request can succeed: with another token, a renewed one, or a corrected clock."""
        verdict = judge_answer(answer)
        if verdict.outcome in {Outcome.NONCE_REFUSED, Outcome.CLOCK_SKEWED}:
            self._clock_offset = verdict.clock_offset or self._clock_offset
            return True
        if verdict.outcome is not Outcome.SIGN_IN_REQUIRED:
            return False
        self._keys = load_credentials.fn(self._name).signing_keys
        if self._keys != keys:  # somebody has signed in meanwhile
            return True
        names_the_token = verdict.problem is not None or says_token_is_dead(answer.text)
        if not names_the_token and recall(self._name) is not None:
            return False  # the token is good, so a bare 401 means something else
        revived_session(self._name, sent_at)
        self._keys = load_credentials.fn(self._name).signing_keys
        return True


def _may_refuse_the_token(answer: httpx.Response) -> bool:
    """Whether to read the answer's body; else it is left to the caller, who may want to stream it."""
    return answer.is_client_error or answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR


def judge_answer(response: httpx.Response) -> Verdict:
    """The verdict on a data call's answer whose body has been read.

    Data calls sometimes answer a dead token with status 500. For a renewal, that status says nothing about
    the token.
    """
    if response.is_success:
        return Verdict(Outcome.RENEWED, advice="E*TRADE answered the call.")
    refused = response.is_server_error and says_token_is_dead(response.text)
    status = httpx.codes.UNAUTHORIZED if refused else response.status_code
    return classify(RenewalReply(int(status), response.headers, response.text, received_at=now()))
