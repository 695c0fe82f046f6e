"""Publishes sample messages for the demo. Runs on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiormq
from msgspec import json
from pamqp.commands import Basic

Publish = Callable[[str, int], Awaitable[None]]


@asynccontextmanager
async def open_publisher(url: str) -> AsyncGenerator[Publish]:
    """Yield ``publish(queue, number)``: a small document, confirmed by the broker."""
    properties = Basic.Properties(content_type="application/json", delivery_mode=2)
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()

        async def publish(queue: str, number: int) -> None:
            body = json.encode({queue: {"number": number, "price": 12.50, "tags": ["a", "b"]}})
            await channel.basic_publish(body, routing_key=queue, properties=properties)

        yield publish
