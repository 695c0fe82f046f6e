"""What consumers do without a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from bench.process import configuration, consumer, endpoint
from gateway import open_gateway
from gateway.amqp.consume.consumer import Consumer
from gateway.amqp.settings import ConsumerSettings
from gateway.core.proxy import Request

pytestmark = pytest.mark.anyio


async def test_an_exclusive_queue_is_consumed_by_the_first_worker_alone() -> None:
    backend = consumer("amqp://127.0.0.1:1", "a", exclusive=True)
    config = configuration(endpoint("/a", backend))
    async with open_gateway(config, worker=1, workers=2) as gateway:
        assert gateway.readiness()["resources"] == []
        transport = httpx.ASGITransport(gateway.asgi)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get("/a")).status_code == 503


def test_now_does_not_respond_with_a_message_that_is_too_large() -> None:
    deliveries = [SimpleNamespace(body=b"12345")]
    buffer: Any = SimpleNamespace(ready=deliveries, take_nowait=deliveries.pop)
    subscription: Any = SimpleNamespace(buffer=buffer)
    consumer = Consumer(subscription, ConsumerSettings(name="q"), None, None, max_now_bytes=4)
    assert consumer.now(Request("GET", "/", {})) is None
    assert len(deliveries) == 1
