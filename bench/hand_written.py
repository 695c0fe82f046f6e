"""The hand-written baseline of agents: the same loop on aiormq and asyncio's streams.

python -m bench.hand_written CONFIG: runs the agent of a scenario's configuration. It responds with
200 to every request on its port, which shows that it runs.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiormq
import uvloop
from aiormq.abc import AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from .direct import PERSISTENT

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

HandOn = Callable[[bytes], Awaitable[object]]
"""Returns when the other side has the message."""


async def http_client(url: str) -> HandOn:
    """Send messages as requests on one connection."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    headers = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
    headers += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    async def hand_on(body: bytes) -> None:
        writer.write(headers % len(body) + body)
        response = await reader.readuntil(b"\r\n\r\n")
        if not response.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(response.decode())
        length = LENGTH.search(response)
        await reader.readexactly(int(length[1]) if length else 0)

    return hand_on


async def producer(connection: AbstractConnection, settings: dict[str, Any]) -> HandOn:
    """Publish messages and wait for the broker's confirm."""
    channel = await connection.channel()
    exchange, routing_key = settings["exchange"], settings["routing_key"]

    async def hand_on(body: bytes) -> None:
        await channel.basic_publish(
            body, exchange=exchange, routing_key=routing_key, properties=PERSISTENT
        )

    return hand_on


async def work(deliveries: asyncio.Queue[DeliveredMessage], hand_on: HandOn) -> None:
    while True:
        delivered = await deliveries.get()
        await hand_on(delivered.body)
        assert isinstance(delivered.delivery, Basic.Deliver)
        assert delivered.delivery.delivery_tag is not None
        await delivered.channel.basic_ack(delivered.delivery.delivery_tag, wait=False)
        deliveries.task_done()


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    writer.close()


async def run(config: dict[str, Any]) -> None:
    (agent,) = config["async_agent"]
    (backend,) = agent["backend"]
    settings = agent["extra_config"]["async/amqp"]
    publishes = backend.get("extra_config", {}).get("backend/amqp/producer")
    deliveries: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with aiormq.connect(settings["host"]) as connection, asyncio.TaskGroup() as workers:
        shared = await producer(connection, publishes) if publishes else None
        working = []
        for _ in range(agent["consumer"]["workers"]):
            hand_on = shared or await http_client(backend["host"][0] + backend["url_pattern"])
            working.append(workers.create_task(work(deliveries, hand_on)))
        channel = await connection.channel()
        await channel.basic_qos(prefetch_count=settings["prefetch_count"])
        consumer = await channel.basic_consume(settings["name"], deliveries.put)
        async with await asyncio.start_server(respond, "127.0.0.1", config["port"]):
            await stop.wait()
        # RabbitMQ would deliver messages again that are not acknowledged.
        await channel.basic_cancel(str(consumer.consumer_tag))
        await deliveries.join()
        for task in working:
            task.cancel()


if __name__ == "__main__":
    uvloop.run(run(json.loads(Path(sys.argv[1]).read_text())))
