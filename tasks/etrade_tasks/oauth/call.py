"""One OAuth call of a sign-in or sign-out: signed, made, judged, and made again where that can help.

As a renewal is, but without Prefect's retries: a person waits for the answer, and no run need exist.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from etrade_tasks.errors import AuthorizationFailed, ConfigurationRefused, ETradeError
from etrade_tasks.oauth.http import fetch
from etrade_tasks.oauth.redaction import describe_answer
from etrade_tasks.oauth.replies import Outcome, RenewalReply, Verdict, classify, learned_offset
from etrade_tasks.oauth.settings import call_settings
from etrade_tasks.oauth.signature import SignedRequest, SigningKeys, signed_get

ATTEMPTS = 4
"""How often one call is made before it is given up."""

LONGEST_PAUSE = 10.0
"""Seconds between two attempts beyond which a waiting person is told to come back instead."""

SUCCESS = 200
"""The status of an answer that gives what was asked for."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OAuthCall(Generic[T]):
    """One OAuth call, and how its answers are read.

    Attributes:
        purpose: What it is for, to finish the sentence "E*TRADE refused ...".
        url: The address to GET.
        keys: Who signs.
        read: What a body of status 200 gives; None if it is not the answer that was asked for.
        refusal: The error that ends the call at a verdict; None where another attempt may help.
        callback: Where E*TRADE sends the person; for a request token alone.
        verifier: What the person was shown; for an access token alone.
    """

    purpose: str
    url: str
    keys: SigningKeys = field(repr=False)
    read: Callable[[str], T | None]
    refusal: Callable[[Verdict], ETradeError | None]
    callback: str | None = None
    verifier: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """What a call gave.

    Attributes:
        found: What was asked for.
        at: When it came, by E*TRADE's clock.
        clock_offset: What to add to this machine's clock to get E*TRADE's.
    """

    found: T = field(repr=False)
    at: datetime
    clock_offset: timedelta


def perform(call: OAuthCall[T], offset: timedelta) -> Served[T]:
    """What was asked for, after as many attempts as it takes.

    Args:
        call: What to ask for.
        offset: What to add to this machine's clock, as far as that is known.

    Raises:
        AuthorizationFailed: `ATTEMPTS` calls failed, or E*TRADE asks to wait for longer than `LONGEST_PAUSE`.
        CredentialsInvalid: A setting is malformed.
        ETradeError: What the call's own `refusal` makes of an answer.
    """
    pause = call_settings().first_backoff.total_seconds()
    doubted = hurried = False
    for attempt in itertools.count(1):
        reply = fetch(signed(call, offset))
        found = call.read(reply.body) if reply.status_code == SUCCESS else None
        if found is not None:
            offset = learned_offset(reply, offset)
            return Served(found, reply.received_at + offset, offset)
        verdict = classify(reply)
        refused = call.refusal(verdict)
        if refused is not None and (doubted or not verdict.bare):
            raise refused
        doubted = doubted or verdict.bare  # a bare status has been seen where the next try worked
        delay = _delay(verdict, pause * 2 ** (attempt - 1), hurried=hurried)
        hurried = hurried or delay == 0
        if attempt == ATTEMPTS or delay > LONGEST_PAUSE:
            raise AuthorizationFailed(
                f"E*TRADE did not serve the call {call.purpose}. {_described(call, reply, verdict)}",
                advice=AuthorizationFailed.default_advice,  # the message may quote a stranger
                outcome=verdict.outcome,
                problem=verdict.problem,
                status=reply.status_code,
                attempts=attempt,
            )
        offset = verdict.clock_offset or offset
        time.sleep(delay)
    raise AssertionError  # for type checkers: the loop has no end of its own


def signed(call: OAuthCall[T], offset: timedelta) -> SignedRequest:
    """The call with a fresh nonce and timestamp: a repeated one would be refused as a replay."""
    return signed_get(call.url, call.keys, offset, callback=call.callback, verifier=call.verifier)


def _delay(verdict: Verdict, backoff: float, *, hurried: bool) -> float:
    """Seconds before the next attempt: none the first time that a nonce or timestamp is refused."""
    if verdict.outcome in (Outcome.NONCE_REFUSED, Outcome.CLOCK_SKEWED):
        return backoff if hurried else 0.0
    return backoff if verdict.retry_after is None else verdict.retry_after.total_seconds()


def _described(call: OAuthCall[T], reply: RenewalReply, verdict: Verdict) -> str:
    """The last answer in words; the verifier, too short to be known for a secret, is taken out by name."""
    if reply.status_code is None:
        return verdict.advice
    answer = describe_answer(
        reply.status_code, reply.header("Content-Type"), reply.body, [call.verifier or ""]
    )
    return f"{verdict.advice} {answer}"


def misconfigured(purpose: str, verdict: Verdict) -> ConfigurationRefused:
    """The error for a call that E*TRADE refused for its key, its secret or its address, or was kept from."""
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
