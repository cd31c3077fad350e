"""Serves the application from a daemon thread, only on the loopback interface."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from etrade_simulator.delivery import HANG_UP

_START_SECONDS = 10
_STOP_SECONDS = 2


def bind_loopback(host: str, port: int) -> socket.socket:
    """Return a socket bound to a loopback address; port 0 takes a free one.

    Raises:
        ValueError: Other machines could reach the address, and sample credentials protect nothing.
        OSError: The port is taken.
    """
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_loopback:
        raise ValueError(f"the simulator listens only on loopback addresses, and {host} is not one")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004  # IP's own number
    # If the protocol is named, asyncio turns Nagle's algorithm off. Otherwise a reused connection would wait
    # 40 ms between the head and the body of an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
    except OSError:
        listener.close()
        raise
    return listener


class _Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, without an access log, in which an answer can close its connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's own signature
        super().__init__(*args, **kwargs)
        # The log would contain the query of the authorize page, with key and token. uvicorn's own option
        # would silence the access logs of every uvicorn in the process.
        self.access_log = False
        self._served: Any = self.app
        self.app = self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[HANG_UP] = self._hang_up
        await self._served(scope, receive, send)

    def _hang_up(self) -> None:
        self.transport.close()  # after the written data is sent


class _Server(uvicorn.Server):
    """uvicorn's server without polling: it says when it is up, and ends at once, despite open connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    async def main_loop(self) -> None:
        """Serve until ``end`` is called."""
        self._loop = asyncio.get_running_loop()
        self.up.set()
        await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and cut every connection; unfinished answers notice and end."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_STOP_SECONDS)

    def end(self) -> None:
        """End a server that is up, from another thread."""
        self._loop.call_soon_threadsafe(self._ending.set)


class LoopbackServer:
    """Serves one application from a daemon thread."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._listener = bind_loopback(host, port)
        self.port: int = self._listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            date_header=False,
            server_header=False,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="etrade-simulator", daemon=True)

    def start(self) -> None:
        """Start serving, and return when calls are answered.

        Raises:
            RuntimeError: The server did not come up within ten seconds.
        """
        self._thread.start()
        if not self._server.up.wait(_START_SECONDS):
            raise RuntimeError(f"the simulator did not start within {_START_SECONDS} seconds")

    def stop(self) -> None:
        """Stop serving; running calls are cut off."""
        self._server.end()
        self._thread.join(_START_SECONDS)
        self._listener.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))
