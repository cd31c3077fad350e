"""What the loggers of the HTTP libraries may say while calls of this package run.

At DEBUG httpcore writes an answer's headers, and the bytes that it choked on; at INFO httpx writes the
answer's reason phrase. Any of them may echo a token. While a call of ours runs, such a line keeps what is
known to be harmless: the event, where the connection went, the status, the name of an error. Lines of other
people's calls stay as they are, and levels and handlers are never touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

WIRE_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hpack.hpack",
    "hpack.table",
)
"""Those that write of requests and answers."""

_ours: ContextVar[bool] = ContextVar("etrade_call", default=False)

# httpx: HTTP Request: GET https://host/path "HTTP/1.1 200 OK"
_REQUEST = re.compile(r'(HTTP Request: [A-Z]+ )([^\s?"]+)(?:\?\S*)? "(HTTP/[\d.]+ \d{3})\b')
# httpcore: connect_tcp.started host='api.etrade.com' port=443 ...; receive_response_headers.complete ...
_EVENT = re.compile(r"[a-z0-9_]+\.(?:started|complete|failed)\b")
_HARMLESS = re.compile(
    r"(?<= )(?:host|server_hostname)='[\w.:-]*'|(?<= )(?:port|timeout)=[\d.]+"
    r"|(?<= return_value=\()b'HTTP/[\d.]+', \d{3}(?=,)|(?<= exception=)\w+(?=\()"
)


@contextmanager
def guarded() -> Iterator[None]:
    """Keep what the wire's loggers write of the `with` block's calls free of what was sent and answered."""
    for name in WIRE_LOGGERS:
        logging.getLogger(name).addFilter(_guard)  # which is a no-op where it is there already
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)


class GuardedClient(httpx.Client):
    """A client whose calls the wire's loggers tell without what was sent and answered."""

    def send(self, request: httpx.Request, **options: object) -> httpx.Response:
        """As httpx's own."""
        with guarded():
            response = super().send(request, **options)  # type: ignore[arg-type]
        if not response.is_closed and isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _GuardedStream(response.stream)
        return response


class GuardedAsyncClient(httpx.AsyncClient):
    """As `GuardedClient`, for async code."""

    async def send(self, request: httpx.Request, **options: object) -> httpx.Response:
        """As httpx's own."""
        with guarded():
            response = await super().send(request, **options)  # type: ignore[arg-type]
        if not response.is_closed and isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _GuardedAsyncStream(response.stream)
        return response


class _GuardedStream(httpx.SyncByteStream):
    """A body that its reader takes after `send` is over."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        while True:
            with guarded():  # not while the reader has the chunk
                try:
                    chunk = next(chunks)
                except StopIteration:
                    return
            yield chunk

    def close(self) -> None:
        with guarded():
            self._stream.close()


class _GuardedAsyncStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        while True:
            with guarded():
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk

    async def aclose(self) -> None:
        with guarded():
            await self._stream.aclose()


def _guard(record: logging.LogRecord) -> bool:
    """The filter: a line of a call of ours is cut to what is harmless, every other line passes as it is."""
    if _ours.get():
        record.msg, record.args = _harmless(record.getMessage()), None
    return True


def _harmless(message: str) -> str:
    if request := _REQUEST.match(message):
        return f'{request[1]}{request[2]} "{request[3]}"'
    event = _EVENT.match(message)
    if event is None:
        return "[not shown: a call to E*TRADE]"
    return " ".join([event[0], *(found[0] for found in _HARMLESS.finditer(message, event.end()))])
