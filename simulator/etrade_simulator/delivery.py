"""Sends an answer over HTTP, with the fault that strikes it, if any."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from etrade_simulator.answers import Answer
from etrade_simulator.faults import Fault

HANG_UP = "etrade_simulator.hang_up"
"""The ASGI extension with which an answer can close its own connection."""


class Delivery(Response):
    """An answer that is sent whole and at once, unless a fault says otherwise."""

    def __init__(self, answer: Answer, fault: Fault | None = None) -> None:
        self._fault = fault or Fault()
        body = answer.body.encode()
        headers = {**answer.headers, **self._fault.headers, "Content-Type": answer.content_type}
        super().__init__(body.ljust(self._fault.size), answer.status, headers)
        if self._fault.size:
            # A client that trusts Content-Length would never read the excess.
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, or stop early if the client disconnects."""
        fault = self._fault
        if fault.delay and await _left_within(fault.delay, receive):
            return
        if fault.drop == "before-answer":
            await _hang_up(scope, receive)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body) if scope["method"] != "HEAD" else b""
        if fault.drop == "mid-body":
            body = body[: len(body) // 2]
        step = 1 if fault.drip else len(body) or 1
        for start in range(0, len(body) or 1, step):
            if fault.drip and await _left_within(fault.drip, receive):
                return
            more = fault.drop is not None or start + step < len(body)
            await send({"type": "http.response.body", "body": body[start : start + step], "more_body": more})
        if fault.drop is not None:
            await _hang_up(scope, receive)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _left_within(seconds: float, receive: Receive) -> bool:
    """Wait that many seconds, and return whether the client disconnected meanwhile."""
    try:
        await asyncio.wait_for(_left(receive), seconds)
    except TimeoutError:
        return False
    return True


async def _hang_up(scope: Scope, receive: Receive) -> None:
    scope["extensions"][HANG_UP]()
    await _left(receive)
