"""Clients for a pipeline: renewed before the first call, and revived when a call is refused as inactive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import httpx

from etrade_flows.access.memory import recall
from etrade_flows.active_session import active_session, revived_session
from etrade_tasks.clock import now
from etrade_tasks.credentials import ETradeCredentials
from etrade_tasks.load_credentials import load_credentials
from etrade_tasks.replies import Outcome, RenewalReply, Verdict, classify
from etrade_tasks.signing import ETradeAuth


@contextmanager
def etrade_client(
    credentials: str = "etrade", *, required_for: timedelta = timedelta(0)
) -> Iterator[httpx.Client]:
    """A signed client on an active session, for the length of the `with` block.

    The session is renewed first where that is due. A call that E*TRADE refuses as inactive renews the session
    once and is sent again, and so is one whose nonce or timestamp was refused; every other answer is handed
    on as it is.

    Open it where it is used: as the argument of a task it would be hashed for the cache, unless that task has
    `cache_policy=NO_CACHE`.

    Example:
        ```python
        with etrade_client("etrade") as client:
            accounts = client.get("/v1/accounts/list.json").raise_for_status().json()
        ```

    Args:
        credentials: The name of the E*TRADE Credentials block.
        required_for: How long the session must last yet.

    Raises:
        ETradeError: What `renew_access_token` raises, here or at a call that finds the session over.
    """
    active_session(credentials, required_for=required_for)
    loaded = load_credentials.fn(credentials)
    with loaded.get_client() as client:
        client.auth = RevivingAuth(credentials, loaded)
        yield client


@asynccontextmanager
async def etrade_async_client(
    credentials: str = "etrade", *, required_for: timedelta = timedelta(0)
) -> AsyncIterator[httpx.AsyncClient]:
    """As `etrade_client`, for async code: the event loop goes on while the session is renewed."""
    await asyncio.to_thread(active_session, credentials, required_for=required_for)
    loaded = await asyncio.to_thread(load_credentials.fn, credentials)
    async with loaded.get_async_client() as client:
        client.auth = RevivingAuth(credentials, loaded)
        yield client


class RevivingAuth(httpx.Auth):
    """Signs each request, and once sends it again where a renewal or a new signature can help.

    Args:
        name: The credentials' name, to renew by.
        credentials: What to sign with at first; loaded again at each renewal, since a person may have signed
            in anew meanwhile.
    """

    def __init__(self, name: str, credentials: ETradeCredentials) -> None:
        self._name = name
        self._keys = credentials.signing_keys
        self._clock_offset = timedelta(0)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the signed request, and a second time if the first answer calls for it."""
        request.read()
        sent_at = time.monotonic()
        response = yield self._signed(request)
        if not response.is_client_error:  # its body is the caller's, who may want to stream it
            return
        response.read()
        verdict = judge_answer(response)
        if self._revival_helps(verdict):
            revived_session(self._name, sent_at)
            self._keys = load_credentials.fn(self._name).signing_keys
            yield self._signed(request)
        elif self._signature_was_refused(verdict):
            yield self._signed(request)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `sync_auth_flow`; a renewal runs in a thread."""
        await request.aread()
        sent_at = time.monotonic()
        response = yield self._signed(request)
        if not response.is_client_error:
            return
        await response.aread()
        verdict = judge_answer(response)
        if self._revival_helps(verdict):
            await asyncio.to_thread(revived_session, self._name, sent_at)
            self._keys = (await asyncio.to_thread(load_credentials.fn, self._name)).signing_keys
            yield self._signed(request)
        elif self._signature_was_refused(verdict):
            yield self._signed(request)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        auth = ETradeAuth(self._keys, clock_offset=self._clock_offset)
        return next(auth.auth_flow(request))

    def _revival_helps(self, verdict: Verdict) -> bool:
        """Whether the token may be inactive; while a renewal answers, a bare 401 means something else."""
        refused = verdict.outcome is Outcome.SIGN_IN_REQUIRED
        return refused and (verdict.problem is not None or recall(self._name, now()) is None)

    def _signature_was_refused(self, verdict: Verdict) -> bool:
        self._clock_offset = verdict.clock_offset or self._clock_offset
        return verdict.outcome in {Outcome.NONCE_REFUSED, Outcome.CLOCK_SKEWED}


def judge_answer(response: httpx.Response) -> Verdict:
    """The verdict on a data call's answer; one that is no 4xx says nothing of the session."""
    if not response.is_client_error:
        return Verdict(Outcome.RENEWED, advice="The call was not refused.")
    reply = RenewalReply(response.status_code, response.headers, response.text, received_at=now())
    return classify(reply)
