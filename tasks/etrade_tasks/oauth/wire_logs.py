"""Keeps secrets out of the HTTP libraries' logs while this package makes calls.

At DEBUG httpcore logs an answer's headers, and bytes that it cannot parse. At INFO httpx logs the answer's
reason phrase. Any of these may echo a token. While a call of ours runs, such a line keeps only what is
harmless: the event, where the connection goes, the status, the name of an error. Lines of other calls stay as
they are, and levels and handlers are never changed.
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
"""The loggers that write about requests and answers."""

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
    """Keep what is sent and received inside the `with` block out of the HTTP libraries' logs."""
    for name in WIRE_LOGGERS:
        logging.getLogger(name).addFilter(_guard)  # does nothing if the filter is already there
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)


class GuardedStream(httpx.SyncByteStream):
    """A body that is read after `send` has returned; reading it is guarded too."""

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
        """Close the connection's stream."""
        with guarded():
            self._stream.close()


class GuardedAsyncStream(httpx.AsyncByteStream):
    """The same as `GuardedStream`, for async code."""

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
        """Close the connection's stream."""
        with guarded():
            await self._stream.aclose()


def _guard(record: logging.LogRecord) -> bool:
    """The filter: it cuts a line of our calls to what is harmless, and passes every other line unchanged."""
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
