"""An HTTP server whose latency is known, on the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count

from bench.load.generator import generate
from bench.load.plan import LoadResult, Plan, Progress, Request

GET = Request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

Delay = Callable[[int], float]
"""Seconds before the response to a request; requests are numbered in the order they come."""


@asynccontextmanager
async def serving(delay: Delay, body: Callable[[int], bytes]) -> AsyncGenerator[int]:
    """Yields the port. A negative delay closes the connection without a response."""
    numbers: Iterator[int] = count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                number = next(numbers)
                seconds = delay(number)
                if seconds < 0:
                    return
                await asyncio.sleep(seconds)
                text = body(number)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def load(
    delay: Delay, body: Callable[[int], bytes] = lambda number: b"{}", **plan: object
) -> tuple[LoadResult, list[Progress]]:
    """The result of our generator with such a server, and its progress."""
    progress: list[Progress] = []

    async def run() -> LoadResult:
        async with serving(delay, body) as port:
            values = {"port": port, "requests": [GET], "jitter": "none", **plan}
            return await generate(Plan(**values), progress.append)  # type: ignore[arg-type]

    return asyncio.run(run()), progress
