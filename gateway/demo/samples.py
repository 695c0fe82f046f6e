"""Publishes sample messages for the demo. Runs on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiormq
from anyio import move_on_after
from msgspec import json
from pamqp.commands import Basic

Publish = Callable[[str, int], Awaitable[None]]

CLOSE_TIMEOUT = 2.0
"""Seconds."""


@asynccontextmanager
async def open_publisher(url: str) -> AsyncGenerator[Publish]:
    """Yield ``publish(queue, number)``: a small document, confirmed by the broker."""
    properties = Basic.Properties(content_type="application/json", delivery_mode=2)
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()

        async def publish(queue: str, number: int) -> None:
            body = json.encode({queue: {"number": number, "price": 12.50, "tags": ["a", "b"]}})
            await channel.basic_publish(body, routing_key=queue, properties=properties)

        yield publish
    finally:
        with move_on_after(CLOSE_TIMEOUT, shield=True):
            await connection.close()
