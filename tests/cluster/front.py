"""One address for several servers: passes each connection to the next server that accepts it.

It is the cluster's load balancer. Run it as `python front.py PORT BACKEND_PORT...`; loopback only.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from contextlib import suppress

HOST = "127.0.0.1"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass data on until either side closes."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(port: int, backends: list[int]) -> None:
    """Accept connections until the process ends."""
    turns = itertools.count()

    async def connected() -> Streams | None:
        first = next(turns)
        for nth in range(len(backends)):
            with suppress(OSError):
                return await asyncio.open_connection(HOST, backends[(first + nth) % len(backends)])
        return None

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend = await connected()
        if backend is None:
            writer.close()
            return
        await asyncio.gather(forward(reader, backend[1]), forward(backend[0], writer))

    server = await asyncio.start_server(accept, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(each) for each in sys.argv[2:]]))
