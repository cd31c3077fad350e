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
from etrade_simulator.calling import Caller, Operation, Token, wants_json
from etrade_simulator.faults import Fault, FaultBed
from etrade_simulator.freshness import TIMESTAMP_TOLERANCE, NonceBook, check_timestamp
from etrade_simulator.journal import RecordedCall
from etrade_simulator.parties import Environment
from etrade_simulator.problems import Refusal
from etrade_simulator.rates import Module, RateCounter, RateLimit
from etrade_simulator.registry import Registry
from etrade_simulator.verification import SignedCall, check_protocol, check_signature


@dataclass(frozen=True)
class Handled:
    """The answer to a call, and the fault that strikes its delivery, if any."""

    answer: Answer
    fault: Fault | None = None


class Service:
    """Answers signed calls by the rules, and keeps their effects."""

    def __init__(self, clock: Callable[[], datetime], limits: dict[Module, RateLimit]) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.registry = Registry()
        self.faults = FaultBed()
        self.problem_form: ProblemForm = "as-seen"
        self.timestamp_tolerance = TIMESTAMP_TOLERANCE
        self.recorded: list[RecordedCall] = []
        self._nonces = NonceBook()
        self._rates = RateCounter(limits)

    def handle(self, operation: Operation[Any], call: SignedCall, environment: Environment | None) -> Handled:
        """Return the answer to the call; only keys of ``environment`` are accepted (``None``: of both)."""
        with self.lock:
            now = self.clock()
            planted = self.faults.waiting_for(call.path)
            fault = planted.fault if planted else None
            answer = fault.answer if fault and fault.when == "before" else None
            if answer is None:
                answer = self._attempt(operation, call, environment, now, fault)
            # A refused call does not use up a fault that waits for a verified call.
            if planted and planted.fault.when == "verified" and answer.problem:
                fault = None
            elif planted:
                self.faults.use(planted)
            self._record(call, answer, fault, now)
            return Handled(answer, fault)

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
            answer = answers.refusal(refused, self.problem_form, data_as=_data_form(operation, call))
        if fault and fault.when == "after" and fault.answer:
            return replace(fault.answer, problem=answer.problem)
        return answer

    def _verify(
        self, operation: Operation[Token], call: SignedCall, environment: Environment | None, now: datetime
    ) -> Caller[Token]:
        """Check the call in E*TRADE's order: protocol, key, clock, token, secret, replay, rate."""
        check_protocol(call)
        oauth = call.oauth
        consumer = self.registry.consumer(oauth["oauth_consumer_key"], environment, now)
        timestamp = check_timestamp(oauth["oauth_timestamp"], now, self.timestamp_tolerance)
        token = operation.find_token(self.registry, call, consumer)
        check_signature(call, consumer.secret, token.secret)
        # Only a correctly signed call uses up its nonce: else a forger could spoil somebody else's.
        self._nonces.use(consumer.key, timestamp, oauth["oauth_nonce"], now, self.timestamp_tolerance)
        if operation.module is not None:
            self._rates.count(consumer.key, operation.module, now)
        return Caller(call, consumer, token, now, self.registry)

    def _record(self, call: SignedCall, answer: Answer, fault: Fault | None, now: datetime) -> None:
        dropped = fault is not None and fault.drop == "before-answer"
        self.recorded.append(
            RecordedCall(
                method=call.method,
                path=call.path,
                status=None if dropped else int(answer.status),
                at=now,
                problem=answer.problem,
                faulted=fault is not None,
            )
        )


def _data_form(operation: Operation[Any], call: SignedCall) -> Literal["json", "xml"] | None:
    if operation.module is None:
        return None
    return "json" if wants_json(call) else "xml"
