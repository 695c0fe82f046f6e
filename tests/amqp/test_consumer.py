"""What consumers do without a broker."""

from __future__ import annotations

import httpx
import pytest

from bench.process import configuration, consumer, endpoint
from gateway import open_gateway

pytestmark = pytest.mark.anyio


async def test_an_exclusive_queue_is_consumed_by_the_first_worker_alone() -> None:
    backend = consumer("amqp://127.0.0.1:1", "a", exclusive=True)
    config = configuration(endpoint("/a", backend))
    async with open_gateway(config, worker=1, workers=2) as gateway:
        assert gateway.readiness()["resources"] == []
        transport = httpx.ASGITransport(gateway.asgi)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get("/a")).status_code == 503
