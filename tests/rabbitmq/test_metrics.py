"""Metrics of queues, exchanges and agents, and the gateway's own, of a whole gateway under load."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from anyio import create_task_group, fail_after, sleep

from bench.process import agent, configuration, consumer, endpoint, producer
from gateway import open_gateway
from gateway.app import service
from gateway.app.service import Gateway
from gateway.components.otel.readings import FAMILIES
from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.testing.memory_broker import MemoryBroker

from ..components.otel.scrapes import SETTINGS, Scrape, comments, scrape, series
from ..router.support import ask
from .amqp import MEMORY, connect, publish, until

pytestmark = pytest.mark.anyio

METRICS = {"telemetry/opentelemetry": SETTINGS}

MESSAGES = 20

BREAKER = {"qos/circuit-breaker": {"interval": 60, "timeout": 60, "max_errors": 1}}

NAMES = {
    "messaging_client_operation_duration_seconds": "histogram",
    "messaging_client_sent_messages_total": "counter",
    "messaging_client_consumed_messages_total": "counter",
    "messaging_process_duration_seconds": "histogram",
    "hutch_gateway_info": "gauge",
    "hutch_gateway_config_loaded_timestamp_seconds": "gauge",
    "hutch_gateway_requests_in_flight": "gauge",
    "hutch_gateway_loop_lag_seconds": "gauge",
    "hutch_gateway_link_up": "gauge",
    "hutch_gateway_link_reconnects_total": "counter",
    "hutch_gateway_link_blocked": "gauge",
    "hutch_gateway_subscription_buffered_messages": "gauge",
    "hutch_gateway_subscription_buffered_bytes": "gauge",
    "hutch_gateway_subscription_unacked_messages": "gauge",
    "hutch_gateway_subscription_prefetch": "gauge",
    "hutch_gateway_subscription_consumers": "gauge",
    "hutch_gateway_subscription_parked_messages": "gauge",
    "hutch_gateway_subscription_waiting_requests": "gauge",
    "hutch_gateway_messages_settled_total": "counter",
    "hutch_gateway_publisher_unconfirmed_messages": "gauge",
    "hutch_gateway_publisher_waiting_messages": "gauge",
    "hutch_gateway_publisher_returned_total": "counter",
    "hutch_gateway_agent_state": "gauge",
    "hutch_gateway_agent_in_flight": "gauge",
    "hutch_gateway_agent_messages_total": "counter",
    "hutch_gateway_agent_last_message_timestamp_seconds": "gauge",
    "hutch_gateway_breaker_state": "gauge",
    "hutch_gateway_ratelimit_denied_total": "counter",
}
"""Every family that a gateway with queues has, under its name in Prometheus."""


@pytest.fixture(autouse=True)
def reachable_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways reach brokers in memory."""
    monkeypatch.setattr(service, "open_asyncio_side", partial(open_asyncio_side, connect))


def document(url: str) -> dict[str, Any]:
    refused = {
        "host": ["http://127.0.0.1:1"],
        "disable_host_sanitize": True,
        "url_pattern": "/",
        "extra_config": BREAKER,
    }
    limit = {"qos/ratelimit/router": {"max_rate": 1e-6, "capacity": 1}}
    take = consumer(url, "q")
    return configuration(
        endpoint("/take", take),
        endpoint("/empty", consumer(url, "empty"), timeout="50ms"),
        endpoint("/bad", consumer(url, "bad", nack_discard=True)),
        endpoint("/limited", take, extra_config=limit),
        endpoint("/put", producer(url, "ex", routing_key="q"), method="POST"),
        endpoint(
            "/lost",
            producer(url, "ex", name="", routing_key="no queue", mandatory=True),
            method="POST",
        ),
        endpoint("/http", refused),
        async_agent=[agent(url, "jobs", producer(url, "out", name="results"), workers=2)],
        extra_config=METRICS,
    )


@asynccontextmanager
async def ready_gateway(config: dict[str, Any]) -> AsyncGenerator[Gateway]:
    async with open_gateway(config) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        yield gateway


async def loaded(gateway: Gateway, side: AsyncioSide, url: str) -> None:
    """Put and take messages, run the agent, and have each kind of failure."""
    app = gateway.asgi
    for _ in range(MESSAGES):
        assert (await ask(app, "POST", "/put", b'{"a": 1}')).status == 200
    for _ in range(MESSAGES):
        assert (await ask(app, "GET", "/take")).status == 200
    assert (await ask(app, "GET", "/empty")).status == 204
    assert (await ask(app, "POST", "/lost", b"{}")).status == 422
    for _ in range(3):
        await ask(app, "GET", "/http")
    async with create_task_group() as tasks:
        tasks.start_soon(ask, app, "GET", "/bad")
        await side.run(publish, url, "bad", [b"no JSON"], "ex")
    async with create_task_group() as tasks:
        tasks.start_soon(ask, app, "GET", "/limited")
        await side.run(publish, url, "q", [b"{}"], "ex")
    assert (await ask(app, "GET", "/limited")).status == 503
    await side.run(publish, url, "jobs", [b"{}"] * MESSAGES, "ex")


async def read_until(gateway: Gateway, name: str, value: float, **labels: str) -> Scrape:
    """Scrape until the sum of these series is ``value``."""
    with fail_after(10):
        while True:
            found = Scrape(await scrape(gateway))
            if found.value(name, **labels) == value:
                return found
            await sleep(0.02)


async def test_every_family_is_in_a_scrape_of_a_gateway_under_load(
    side: AsyncioSide, any_url: str, anyio_backend_name: str
) -> None:
    async with ready_gateway(document(any_url)) as gateway:
        await loaded(gateway, side, any_url)
        done = {"agent": "agent-jobs", "outcome": "success"}
        await read_until(gateway, "hutch_gateway_agent_messages_total", MESSAGES, **done)
        acknowledged = {"queue": "jobs", "outcome": "ack"}
        await read_until(gateway, "hutch_gateway_messages_settled_total", MESSAGES, **acknowledged)
        acknowledged = {"queue": "q", "outcome": "ack"}
        found = await read_until(
            gateway, "hutch_gateway_messages_settled_total", MESSAGES + 1, **acknowledged
        )

    kinds, helps = comments(found.text, "TYPE"), comments(found.text, "HELP")
    assert {name: kinds.get(name) for name in NAMES} == NAMES
    assert [name for name in NAMES if not helps[name]] == []
    own = {name for name in kinds if name.startswith("hutch_gateway_")}
    assert own <= set(NAMES)
    # No collector gets spans here.
    assert len(own) == sum(not each.name.startswith("spans.") for each in FAMILIES)
    _check_messaging(found)
    _check_own(found, anyio_backend_name)


def _check_messaging(found: Scrape) -> None:
    duration, sent, consumed, process = list(NAMES)[:4]
    put = {"messaging_destination_name": "ex", "messaging_operation_name": "publish"}
    assert found.value(sent, **put) == MESSAGES + 1
    assert found.value(sent, **put, error_type="unroutable") == 1
    assert found.value(f"{duration}_count", **put) == MESSAGES + 1
    taken = {"messaging_destination_name": "q", "messaging_operation_name": "receive"}
    assert found.value(consumed, **taken) == MESSAGES + 1
    empty = {"messaging_destination_name": "empty"}
    assert found.value(f"{duration}_count", **empty) == 1
    assert found.values(consumed, **empty) == []
    assert found.values(f"{duration}_count", error_type="queue_empty") == []
    bad = {"messaging_destination_name": "bad", "error_type": "undecodable"}
    assert found.value(f"{duration}_count", **bad) == found.value(consumed, **bad) == 1
    jobs = {"messaging_destination_name": "jobs", "messaging_operation_name": "process"}
    assert found.value(f"{process}_count", **jobs) == MESSAGES
    assert found.value(consumed, **jobs) == MESSAGES
    for name in (sent, consumed, f"{duration}_count", f"{process}_count"):
        for labels, _ in series(found.text, name):
            assert set(labels) - {"error_type"} == {
                "messaging_destination_name",
                "messaging_operation_name",
                "messaging_operation_type",
                "messaging_system",
                "server_address",
                "server_port",
            }


def _check_own(found: Scrape, library: str) -> None:
    def own(name: str, **labels: str) -> float:
        return found.value(f"hutch_gateway_{name}", **labels)

    assert own("info", async_library=library) == 1
    assert own("link_up", role="consume") == own("link_up", role="publish") == 1
    assert own("link_reconnects_total") == own("link_blocked") == 0
    assert own("subscription_consumers", queue="jobs") == 1
    assert own("subscription_prefetch", queue="jobs") == 4
    assert own("messages_settled_total", queue="bad", outcome="reject") == 1
    assert own("publisher_returned_total", exchange="ex") == 1
    assert own("publisher_unconfirmed_messages") == own("publisher_waiting_messages") == 0
    assert own("agent_state", agent="agent-jobs") == 1
    assert own("agent_in_flight", agent="agent-jobs") == 0
    assert own("breaker_state", endpoint="GET /http", backend="backend[0]") == 2
    assert own("ratelimit_denied_total", endpoint="GET /limited") == 1
    assert own("requests_in_flight") == 0
    assert "guest" not in found.text


@pytest.fixture
def memory() -> Generator[MemoryBroker]:
    broker = MemoryBroker()
    broker.url = "amqp://guest:guest@broker.metrics.test/"
    MEMORY["broker.metrics.test"] = broker
    yield broker
    del MEMORY["broker.metrics.test"]


async def at_broker(side: AsyncioSide, action: Callable[[], object]) -> None:
    """A fault of the broker in memory, which belongs to the asyncio side."""

    async def run() -> None:
        action()

    await side.run(run)


async def test_counts_of_a_queue_go_on_after_a_reconnect(
    side: AsyncioSide, memory: MemoryBroker
) -> None:
    name, labels = "hutch_gateway_messages_settled_total", {"queue": "q", "outcome": "ack"}
    async with ready_gateway(document(memory.url)) as gateway:
        for turn in (1, 2):
            for _ in range(3):
                await ask(gateway.asgi, "POST", "/put", b"{}")
                assert (await ask(gateway.asgi, "GET", "/take")).status == 200
            await read_until(gateway, name, 3 * turn, **labels)
            await at_broker(side, memory.cut)
            reconnects = "hutch_gateway_link_reconnects_total"
            found = await read_until(gateway, reconnects, turn, role="consume")
            assert found.value(name, **labels) == 3 * turn
            await until(lambda: gateway.readiness()["ready"])


async def test_a_broker_that_blocks_publishers(side: AsyncioSide, memory: MemoryBroker) -> None:
    config = configuration(
        endpoint("/put", producer(memory.url, "ex"), method="POST", timeout="1s"),
        extra_config=METRICS,
    )
    async with ready_gateway(config) as gateway:
        await at_broker(side, memory.block)
        # The broker blocks the connection when it gets a message.
        assert (await ask(gateway.asgi, "POST", "/put", b"{}")).status == 200
        await read_until(gateway, "hutch_gateway_link_blocked", 1, role="publish")
        async with create_task_group() as tasks:
            tasks.start_soon(ask, gateway.asgi, "POST", "/put", b"{}")
            await read_until(gateway, "hutch_gateway_publisher_waiting_messages", 1, exchange="ex")
        found = Scrape(await scrape(gateway))
    duration = "messaging_client_operation_duration_seconds_count"
    assert found.values(duration, error_type="blocked") == [1]
    assert found.values("messaging_client_sent_messages_total") == [1]


async def test_messages_that_the_broker_rejects(side: AsyncioSide, any_url: str) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    config = configuration(
        endpoint("/put", producer(any_url, "ex", arguments=full), method="POST"),
        extra_config=METRICS,
    )
    async with ready_gateway(config) as gateway:
        assert (await ask(gateway.asgi, "POST", "/put", b"{}")).status == 200
        with fail_after(10):  # RabbitMQ notices a moment later that the queue is full
            while (await ask(gateway.asgi, "POST", "/put", b"{}")).status == 200:
                pass
        found = Scrape(await scrape(gateway))
    assert found.values("messaging_client_sent_messages_total", error_type="nack") == [1]


async def test_parked_and_waiting_messages(side: AsyncioSide, any_url: str) -> None:
    config = configuration(
        endpoint("/take", consumer(any_url, "q", idle_return="never"), timeout="10s"),
        extra_config=METRICS,
    )
    queue = {"queue": "q"}
    async with ready_gateway(config) as gateway, create_task_group() as tasks:
        tasks.start_soon(ask, gateway.asgi, "GET", "/take")
        waiting = "hutch_gateway_subscription_waiting_requests"
        found = await read_until(gateway, waiting, 1, **queue)
        assert found.value("hutch_gateway_requests_in_flight") == 1
        await side.run(publish, any_url, "q", [b"no JSON"], "ex")
        parked = "hutch_gateway_subscription_parked_messages"
        found = await read_until(gateway, parked, 1, **queue)
        assert found.value("hutch_gateway_subscription_unacked_messages", **queue) == 1
        assert found.value("hutch_gateway_subscription_buffered_messages", **queue) == 0
        buffered = "hutch_gateway_subscription_buffered_bytes"
        await read_until(gateway, buffered, len(b"no JSON"), **queue)  # it is tried again


async def test_a_broker_that_is_away_is_the_type_of_the_error() -> None:
    url = "amqp://guest:secret@127.0.0.1:1/"
    config = configuration(
        endpoint("/take", consumer(url, "q"), timeout="50ms"),
        endpoint("/put", producer(url, ""), method="POST", timeout="50ms"),
        extra_config=METRICS,
    )
    async with open_gateway(config) as gateway:
        assert (await ask(gateway.asgi, "GET", "/take")).status == 503
        assert (await ask(gateway.asgi, "POST", "/put", b"{}")).status == 503
        found = Scrape(await scrape(gateway))
    duration = "messaging_client_operation_duration_seconds_count"
    away = {"error_type": "broker_away", "server_address": "127.0.0.1", "server_port": "1"}
    assert found.values(duration, messaging_destination_name="q", **away) == [1]
    assert found.values(duration, messaging_destination_name="amq.default", **away) == [1]
    assert found.values("messaging_client_sent_messages_total") == []
    assert found.values("hutch_gateway_link_up") == [0, 0]
