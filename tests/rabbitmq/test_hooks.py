"""Python hooks around messages, on a real RabbitMQ."""

from __future__ import annotations

from typing import Any

import aiormq
import pytest
from anyio.lowlevel import checkpoint
from pamqp.commands import Basic

from bench.process import agent, configuration, consumer, endpoint, producer
from gateway.app.service import open_gateway
from gateway.core.bridge import AsyncioSide
from gateway.hooks import HookRequest, HookResponse
from tests.router.support import ask

from .amqp import publish, until, until_count

pytestmark = pytest.mark.anyio

HERE = "tests.rabbitmq.test_hooks:"


def redact(request: HookRequest, response: HookResponse) -> None:
    assert response.data is not None
    del response.data["secret"]


async def redact_async(request: HookRequest, response: HookResponse) -> None:
    await checkpoint()
    redact(request, response)


def fail_on_bad_ones(request: HookRequest, response: HookResponse) -> None:
    assert response.data != {"bad": True}


def stamp(request: HookRequest) -> None:
    request.headers["X-Stamp"] = "stamped"
    request.params["Key"] = "of-the-hook"
    request.body = b"<" + request.body + b">"


def hooked(backend: dict[str, Any], **names: str) -> dict[str, Any]:
    hooks = {key: HERE + name for key, name in names.items()}
    return {**backend, "extra_config": {**backend["extra_config"], "gateway/python": hooks}}


async def take(url: str, queue: str) -> tuple[bytes, Basic.Properties, str]:
    """Body, properties, routing key. Runs under asyncio."""
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        message = await channel.basic_get(queue, no_ack=True)
        assert isinstance(message.delivery, Basic.GetOk)
        properties = message.header.properties
        return bytes(message.body), properties, message.delivery.routing_key or ""


@pytest.mark.parametrize("name", ["redact", "redact_async"])
async def test_a_response_hook_sees_the_message_and_it_is_acknowledged(
    name: str, side: AsyncioSide, vhost_url: str
) -> None:
    backends = (hooked(consumer(vhost_url, "a"), response=name), consumer(vhost_url, "b"))
    async with open_gateway(
        configuration(endpoint("/one", backends[0]), endpoint("/two", *backends))
    ) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish, vhost_url, "a", [b'{"secret":1,"n":2.50}'] * 2)
        await side.run(publish, vhost_url, "b", [b'{"b":1}'])
        assert (await ask(gateway.asgi, "GET", "/one")).json() == {"n": 2.5}
        assert (await ask(gateway.asgi, "GET", "/two")).json() == {"n": 2.5, "b": 1}
    await until_count(side, vhost_url, "a", 0)


async def test_a_message_whose_hook_fails_is_given_back(side: AsyncioSide, vhost_url: str) -> None:
    backend = hooked(consumer(vhost_url, "a"), response="fail_on_bad_ones")
    async with open_gateway(configuration(endpoint("/a", backend))) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish, vhost_url, "a", [b'{"bad":true}'])
        assert (await ask(gateway.asgi, "GET", "/a")).status == 500
    await until_count(side, vhost_url, "a", 1)


async def test_a_request_hook_changes_what_is_published(side: AsyncioSide, vhost_url: str) -> None:
    target = producer(vhost_url, "ex", routing_key="key", static_routing_key=False)
    source = consumer(vhost_url, "q", routing_key=["of-the-hook"])
    posting = endpoint(
        "/p/{key}",
        hooked(target, request="stamp"),
        method="POST",
        input_headers=["X-Listed"],
    )
    async with open_gateway(configuration(posting, endpoint("/q", source))) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        reply = await ask(gateway.asgi, "POST", "/p/client", b"body")
        assert reply.status == 200
    await until_count(side, vhost_url, "q", 1)
    body, properties, routing_key = await side.run(take, vhost_url, "q")
    assert (body, routing_key) == (b"<body>", "of-the-hook")
    assert (properties.headers or {})["X-Stamp"] == "stamped"


async def test_an_agents_message_goes_through_hooks(side: AsyncioSide, vhost_url: str) -> None:
    runner = agent(vhost_url, "from", producer(vhost_url, "to", name="target", routing_key="t"))
    runner["extra_config"]["gateway/python"] = {"request": HERE + "stamp"}
    async with open_gateway(configuration(async_agent=[runner])) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish, vhost_url, "from", [b"x"])
        await until_count(side, vhost_url, "target", 1)
    assert (await side.run(take, vhost_url, "target"))[0] == b"<x>"
