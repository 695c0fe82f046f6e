"""A gateway inside an AnyIO program that has other things to do.

python examples/embedded.py FILE [asyncio|trio]
"""

from __future__ import annotations

import signal
import sys

import anyio

from gateway import open_gateway
from gateway.server import ServeSettings, serve, serve_settings


async def stop_on_signal(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


async def other_things(stop: anyio.Event) -> None:
    while not stop.is_set():
        with anyio.move_on_after(10):
            await stop.wait()


async def main(config: str) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_on_signal, stop)
        tasks.start_soon(other_things, stop)
        async with open_gateway(config) as gateway:
            settings: ServeSettings = serve_settings(gateway.service)
            await serve(gateway.asgi, settings, stop=stop)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend=sys.argv[2] if len(sys.argv) > 2 else "asyncio")
