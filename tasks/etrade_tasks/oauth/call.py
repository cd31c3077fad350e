"""One OAuth call of a sign-in or sign-out: signed, made, judged, and tried again if that can help.

It works as a renewal does, but without Prefect's retries: a person is waiting, and there may be no run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Generic, TypeVar

from etrade_tasks.errors import AuthorizationFailed, ConfigurationRefused, ETradeError
from etrade_tasks.inputs import read_variables
from etrade_tasks.oauth.http import fetch
from etrade_tasks.oauth.replies import Outcome, Retrying, Verdict, answered_at, classify
from etrade_tasks.oauth.settings import CallSettings
from etrade_tasks.oauth.signature import SignedRequest, SigningKeys, signed_get

ATTEMPTS = 4
"""How many times one call is tried before giving up."""

LONGEST_PAUSE = 10.0
"""The longest wait between two attempts, in seconds. If E*TRADE asks for more, the call fails instead."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OAuthCall(Generic[T]):
    """One OAuth call, and how to read its answers.

    Attributes:
        purpose: What it is for, to finish the sentence "E*TRADE refused ...".
        url: The address to GET.
        keys: Who signs.
        read: Reads the result from a body of status 200; returns None if it is not the expected answer.
        refusal: Returns the error for a verdict that ends the call, if that is not a `ConfigurationRefused`.
        callback: Where E*TRADE sends the person; only for a request token.
        verifier: What the person was shown; only for an access token.
    """

    purpose: str
    url: str
    keys: SigningKeys = field(repr=False)
    read: Callable[[str], T | None]
    refusal: Callable[[Verdict], ETradeError | None] = lambda _: None
    callback: str | None = None
    verifier: str | None = field(default=None, repr=False)


def perform(call: OAuthCall[T], offset: timedelta) -> tuple[T, datetime, timedelta]:
    """Make the call, as many times as needed.

    Args:
        call: What to ask for.
        offset: What to add to this machine's clock, as far as that is known.

    Returns:
        The result; when it came, by E*TRADE's clock; what to add to this machine's clock to get E*TRADE's.

    Raises:
        AuthorizationFailed: `ATTEMPTS` calls failed, or E*TRADE asks to wait longer than `LONGEST_PAUSE`.
        CredentialsInvalid: A setting is malformed.
        ConfigurationRefused: A key, a secret or the address is wrong.
        ETradeError: The error that the call's own `refusal` returns.
    """
    pause = read_variables(CallSettings).first_backoff.total_seconds()
    retrying = Retrying()
    for attempt in itertools.count(1):
        reply = fetch(signed(call, offset))
        found = call.read(reply.body) if reply.status_code == HTTPStatus.OK else None
        if found is not None:
            at = answered_at(reply, reply.received_at + offset)
            return found, at, at - reply.received_at
        verdict = classify(reply)
        refused = call.refusal(verdict)
        if refused is None and verdict.outcome in (Outcome.MISCONFIGURED, Outcome.SIGN_IN_REQUIRED):
            refused = _misconfigured(call.purpose, verdict)
        if refused is not None and not retrying.doubts(verdict):
            raise refused
        wait = retrying.wait_for(verdict)
        delay = pause * 2 ** (attempt - 1) if wait is None else wait.total_seconds()
        if attempt == ATTEMPTS or delay > LONGEST_PAUSE:
            # A verifier is too short to look like a secret.
            answer = reply.described([call.verifier or ""])
            raise AuthorizationFailed(
                f"E*TRADE did not serve the call {call.purpose}. {verdict.advice} {answer}".rstrip(),
                advice=AuthorizationFailed.default_advice,  # the message may quote a stranger
                outcome=verdict.outcome,
                problem=verdict.problem,
                status=reply.status_code,
                attempts=attempt,
            )
        offset = verdict.clock_offset or offset
        time.sleep(delay)
    raise AssertionError  # for type checkers: the loop never ends by itself


def signed(call: OAuthCall[T], offset: timedelta) -> SignedRequest:
    """The call, signed with a fresh nonce and timestamp: E*TRADE refuses a repeated one as a replay."""
    return signed_get(call.url, call.keys, offset, callback=call.callback, verifier=call.verifier)


def _misconfigured(purpose: str, verdict: Verdict) -> ConfigurationRefused:
    """The error for a call that E*TRADE refused because of a key, a secret or the address, or never got."""
    if verdict.remedy is not None:
        return ConfigurationRefused(
            f"E*TRADE cannot be called {purpose}. {verdict.advice}",
            advice=verdict.remedy,
            outcome=verdict.outcome,
        )
    named = f" ({verdict.problem})" if verdict.problem else ""
    return ConfigurationRefused(
        f"E*TRADE refused {purpose}{named}. {verdict.advice}",
        outcome=verdict.outcome,
        problem=verdict.problem,
    )
