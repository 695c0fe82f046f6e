"""What the log says of a broker names the endpoints and agents that it concerns."""

from __future__ import annotations

import logging
from functools import partial

import pytest

from bench.process import agent, configuration, consumer, endpoint, producer
from gateway import open_gateway
from gateway.app import service
from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.testing.memory_broker import MemoryBroker

from ..router.support import ask
from .amqp import MEMORY, connect, until
from .test_metrics import at_broker

pytestmark = pytest.mark.anyio

HOST = "broker.events.test"
NAME = f"amqp://{HOST}:5672/"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    monkeypatch.setattr(service, "open_asyncio_side", partial(open_asyncio_side, connect))
    monkeypatch.setitem(MEMORY, HOST, memory := MemoryBroker())
    return memory


async def test_events_of_a_broker_name_endpoints_and_agents(
    memory: MemoryBroker, side: AsyncioSide, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.amqp")
    url = f"amqp://guest:guest@{HOST}/"
    put = producer(url, "ex", routing_key="q")
    document = configuration(
        *(endpoint(f"/take/{number}", consumer(url, "q")) for number in range(4)),
        endpoint("/put", put, method="POST", timeout="50ms"),
        async_agent=[agent(url, "jobs", producer(url, "out", name="results"))],
    )
    consumers = "agent agent-jobs, GET /take/0, GET /take/1 and 2 more"
    producers = "agent agent-jobs and POST /put"
    async with open_gateway(document) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        assert f"{NAME}: connected (consume) for {consumers}\n" in caplog.text
        assert f"{NAME}: connected (publish) for {producers}\n" in caplog.text
        of_queue = "GET /take/0, GET /take/1, GET /take/2 and 1 more"
        assert f"queue 'q' of {of_queue}: ready\n" in caplog.text
        assert "exchange 'ex' of POST /put: ready\n" in caplog.text
        caplog.clear()
        await at_broker(side, memory.block)
        await ask(gateway.asgi, "POST", "/put", b"{}")
        await until(lambda: "accepts no messages" in caplog.text)
        await at_broker(side, memory.unblock)
        await until(lambda: "accepts messages again" in caplog.text)
        blocked = [each for each in caplog.records if "accepts" in each.getMessage()]
        assert {each.getMessage().rpartition(" for ")[2] for each in blocked} == {producers}
        assert [each.levelname for each in blocked] == ["WARNING", "INFO"]
        caplog.clear()
        await at_broker(side, memory.cut)
        await until(lambda: caplog.text.count("connected (") == 2)
        own = [each for each in caplog.records if each.name == "gateway.amqp"]
        lost = [each.getMessage() for each in own if each.levelname == "WARNING"]
        assert {each.rpartition(" for ")[2] for each in lost} == {consumers, producers}
