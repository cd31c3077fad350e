"""Clients for a pipeline: renewed before the first call, and revived when a call is refused.

Only GET and HEAD are ever sent again, and once: an order that E*TRADE took and then answered badly would be
placed twice.
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
"""What may be sent a second time (RFC 9110, section 9.2.1), of the methods that E*TRADE knows."""


@contextmanager
def etrade_client(
    credentials: str = DEFAULT_NAME, *, required_for: timedelta = timedelta(0)
) -> Iterator[httpx.Client]:
    """A signed client on an active session, for the length of the `with` block.

    The session is renewed first where that is due. Where E*TRADE refuses the token of a call, the client
    takes the token that the credentials hold by now, or renews the one that it has, and sends a GET or HEAD
    once more; so it does where the nonce or the timestamp was refused. A call by any other method, such as
    an order, is never sent again: its answer is handed on as it is, and the next call finds the session
    revived. Every other answer is handed on, and so is every redirect.

    Open it where it is used: as the argument of a task it would be hashed for the cache, unless that task has
    `cache_policy=NO_CACHE`.

    Example:
        ```python
        with etrade_client("etrade") as client:
            accounts = client.get("/v1/accounts/list.json").raise_for_status().json()
        ```

    Args:
        credentials: The name of the E*TRADE Credentials block.
        required_for: How much longer the session must last.

    Raises:
        ETradeError: What `renew_access_token` raises, here or at a GET or HEAD that finds the session over.
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
    """As `etrade_client`, for async code: the event loop goes on while the session is renewed."""
    await asyncio.to_thread(active_session, credentials, required_for=required_for)
    loaded = await asyncio.to_thread(load_credentials.fn, credentials)
    async with loaded.get_async_client() as client:
        client.auth = RevivingAuth(credentials, loaded)
        yield client


class RevivingAuth(httpx.Auth):
    """Signs each request, and sends a safe one again, once, where another token or signature can help.

    Args:
        name: The credentials' name, to renew by.
        credentials: What to sign with at first; loaded again whenever the token is refused, since a person
            may have signed in anew meanwhile.
    """

    def __init__(self, name: str, credentials: ETradeCredentials) -> None:
        self._name = name
        self._api_url = credentials.api_base_url
        self._keys = credentials.signing_keys
        self._clock_offset = timedelta(0)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the signed request, and a second time if the first answer calls for it."""
        request.read()
        keys, sent_at = self._keys, time.monotonic()
        answer = yield self._signed(request, keys)
        if _may_refuse_the_token(answer):
            answer.read()
            if self._may_be_sent_again(answer, keys, sent_at):
                yield self._signed(request, self._keys)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `sync_auth_flow`; credentials are loaded and renewed in a thread."""
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
        """Mend what made E*TRADE refuse the request; whether to send it again.

        Raises:
            ETradeError: The session of a safe request cannot be revived.
        """
        method = answer.request.method
        if method in SAFE_METHODS:
            return self._mend(answer, keys, sent_at)
        # Whoever sent an order needs its answer more than the reason why the next call will be refused.
        with best_effort(f"E*TRADE refused a {method}, and the session could not be revived"):
            self._mend(answer, keys, sent_at)
        return False

    def _mend(self, answer: httpx.Response, keys: SigningKeys, sent_at: float) -> bool:
        """Whether the next request can be better: by another token, a renewed one, or a corrected clock."""
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
        if not names_the_token and recall(self._name, now()) is not None:
            return False  # the token is good, so a bare 401 means something else
        revived_session(self._name, sent_at)
        self._keys = load_credentials.fn(self._name).signing_keys
        return True


def _may_refuse_the_token(answer: httpx.Response) -> bool:
    """Whether to look into an answer; the body of any other is the caller's, who may want to stream it."""
    return answer.is_client_error or answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR


def judge_answer(response: httpx.Response) -> Verdict:
    """The verdict on a data call's answer, once it has been read.

    Data calls have been seen to answer a dead token with status 500, which says nothing of a token where a
    renewal is answered so.
    """
    if response.is_success:
        return Verdict(Outcome.RENEWED, advice="E*TRADE answered the call.")
    refused = response.is_server_error and says_token_is_dead(response.text)
    status = httpx.codes.UNAUTHORIZED if refused else response.status_code
    return classify(RenewalReply(int(status), response.headers, response.text, received_at=now()))
