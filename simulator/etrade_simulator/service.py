"""The service itself: it checks a signed call in E*TRADE's order, carries it out and answers.

It has no HTTP server. One lock protects all its data, so that calls over HTTP and calls of a test in the same
process never see it half changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from etrade_simulator import answers
from etrade_simulator.answers import Answer, ProblemForm
from etrade_simulator.faults import Fault, Planted
from etrade_simulator.operations import Caller, Operation, wants_json
from etrade_simulator.parties import Environment
from etrade_simulator.problems import Refusal
from etrade_simulator.rates import Module, RateCounter, RateLimit
from etrade_simulator.registry import Registry
from etrade_simulator.verification import (
    TIMESTAMP_TOLERANCE,
    NonceBook,
    SignedCall,
    check_protocol,
    check_signature,
    check_timestamp,
    require,
)


@dataclass(frozen=True)
class RecordedCall:
    """One call: what it asked for, when, and how it was answered, without any secret.

    Attributes:
        method: The HTTP method.
        path: The path without its query, so without any key or token.
        status: The status of the answer, or ``None`` if the connection was dropped before.
        at: When it came, in UTC, by the simulator's clock.
        problem: The ``oauth_problem`` of a refusal, ``rate_limit`` or ``data_error``; ``None`` if the call
            was carried out.
        faulted: Whether a planted fault changed the answer.
    """

    method: str
    path: str
    status: int | None
    at: datetime
    problem: str | None = None
    faulted: bool = False


class Service:
    """Answers signed calls by the rules, and keeps their effects."""

    def __init__(self, clock: Callable[[], datetime], limits: dict[Module, RateLimit]) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.registry = Registry()
        self.planted: list[Planted] = []
        self.problem_form: ProblemForm = "as-seen"
        self.timestamp_tolerance = TIMESTAMP_TOLERANCE
        self.recorded: list[RecordedCall] = []
        self._nonces = NonceBook()
        self._rates = RateCounter(limits)

    def handle(
        self, operation: Operation[Any], call: SignedCall, environment: Environment | None
    ) -> tuple[Answer, Fault | None]:
        """Return the answer to the call, and the fault that strikes its delivery, if any.

        Only keys of ``environment`` are accepted (``None``: of both).
        """
        with self.lock:
            now = self.clock()
            # The first one planted strikes first.
            planted = next((each for each in self.planted if call.path.endswith(each.path)), None)
            fault = planted.fault if planted else None
            answer = fault.answer if fault and fault.when == "before" else None
            if answer is None:
                answer = self._attempt(operation, call, environment, now, fault)
            # A refused call does not use up a fault that waits for a verified call.
            if planted and planted.fault.when == "verified" and answer.problem:
                fault = None
            elif planted:
                planted.times -= 1
                if planted.times == 0:
                    self.planted.remove(planted)
            dropped = fault is not None and fault.drop == "before-answer"
            status = None if dropped else int(answer.status)
            self.recorded.append(
                RecordedCall(call.method, call.path, status, now, answer.problem, faulted=fault is not None)
            )
            return answer, fault

    def _attempt(
        self,
        operation: Operation[Any],
        call: SignedCall,
        environment: Environment | None,
        now: datetime,
        fault: Fault | None,
    ) -> Answer:
        try:
            caller = self._verify(operation, call, environment, now)
            if fault and fault.when == "verified" and fault.answer:
                return fault.answer
            answer = operation.perform(caller)
        except Refusal as refused:
            asked_for: Literal["json", "xml"] = "json" if wants_json(call) else "xml"
            data_as = asked_for if operation.module else None  # OAuth calls know neither
            answer = answers.refusal(refused, self.problem_form, data_as=data_as)
        if fault and fault.when == "after" and fault.answer:
            return replace(fault.answer, problem=answer.problem)
        return answer

    def _verify(
        self, operation: Operation[Any], call: SignedCall, environment: Environment | None, now: datetime
    ) -> Caller[Any]:
        """Check the call in E*TRADE's order: protocol, key, clock, token, secret, replay, rate."""
        check_protocol(call)
        oauth = call.oauth
        consumer = self.registry.consumer(oauth["oauth_consumer_key"], environment, now)
        timestamp = check_timestamp(oauth["oauth_timestamp"], now, self.timestamp_tolerance)
        token: Any = None
        if operation.signed_by is not None:
            require(call, ["oauth_token"])
            token = self.registry.token(operation.signed_by, oauth["oauth_token"], consumer.key)
        check_signature(call, consumer.secret, token.secret if token else "")
        # Only a correctly signed call uses up its nonce: else a forger could spoil somebody else's.
        self._nonces.use(consumer.key, timestamp, oauth["oauth_nonce"], now, self.timestamp_tolerance)
        if operation.module is not None:
            self._rates.count(consumer.key, operation.module, now)
        return Caller(call, consumer, token, now, self.registry)
