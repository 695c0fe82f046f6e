"""Agents while their HTTP backend fails in every way: each message is taken, or still there."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import Event

from bench.faults import numbered
from bench.fill import fill
from bench.process import agent, configuration, running
from gateway.demo.broker import Broker, free_port
from gateway.server import ServeSettings, serve
from gateway.server.sockets import open_sockets

from .amqp import count

NUMBER = 10_000


class Service:
    """Takes numbers. ``mood``: what it does with them."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: Counter[int] = Counter()
        self.statuses: Counter[int] = Counter()
        self.mood = "well"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if self.mood == "slow":
            await asyncio.sleep(0.3)
        status = 500 if self.mood == "storm" else 204
        self.statuses[status] += 1
        if status == 204:
            self.taken[json.loads(body)["n"]] += 1
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def up(self) -> AsyncGenerator[None]:
        stop = Event()
        sockets = open_sockets("127.0.0.1", self.port, answer_time=60)
        serving = asyncio.create_task(
            serve(self, ServeSettings(grace=0.1), stop=stop, sockets=sockets)
        )
        yield
        stop.set()
        await serving


async def live_through_it(service: Service, url: str) -> None:
    async with service.up():
        for mood in ("well", "storm", "slow"):
            service.mood = mood
            await asyncio.sleep(0.7)
    await asyncio.sleep(0.7)  # no server listens
    service.mood = "well"
    async with service.up():
        while len(service.taken) < NUMBER:
            await asyncio.sleep(0.1)
        while (await count(url, "from"))[0]:
            await asyncio.sleep(0.1)


def test_every_message_is_processed_in_the_end(
    broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    service = Service()
    asyncio.run(fill(vhost_url, "from", NUMBER, numbered, delivery_mode=2))
    backend = {
        "host": [f"http://127.0.0.1:{service.port}"],
        "url_pattern": "/take",
        "method": "POST",
    }
    source = agent(
        vhost_url, "from", backend, workers=20, prefetch_count=200, retry={"delay": "100ms"}
    )
    with running(configuration(async_agent=[source]), tmp_path) as gateway:
        asyncio.run(live_through_it(service, vhost_url))
        assert gateway.stop() == 0
    assert service.taken.keys() == set(range(NUMBER))
    assert service.statuses[500] > 0
    assert asyncio.run(count(vhost_url, "from"))[0] == 0


def test_messages_that_were_not_processed_when_the_gateway_is_killed_are_in_the_queue(
    broker: Broker, vhost_url: str, tmp_path: Path
) -> None:
    service = Service()
    asyncio.run(fill(vhost_url, "from", NUMBER, numbered, delivery_mode=2))
    backend = {
        "host": [f"http://127.0.0.1:{service.port}"],
        "url_pattern": "/take",
        "method": "POST",
    }
    source = agent(vhost_url, "from", backend, workers=20, prefetch_count=200)

    async def take_some() -> None:
        async with service.up():
            with running(configuration(async_agent=[source]), tmp_path, is_awaited=False) as it:
                while len(service.taken) < NUMBER // 10:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(it.kill)

    asyncio.run(take_some())
    left = asyncio.run(count(vhost_url, "from"))[0]
    assert left > 0
    assert len(service.taken) + left >= NUMBER
