"""The queue that a producer names: publishing needs the exchange only."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import to_thread

from bench.process import configuration, producer
from gateway.app.service import Gateway, open_gateway
from gateway.core.bridge import AsyncioSide
from gateway.demo.broker import Broker
from tests.router.support import ask

from .amqp import add_user, gateway_for, until
from .test_producer import drain, post

pytestmark = pytest.mark.anyio


def queues_of(gateway: Gateway) -> Any:
    (link,) = gateway.readiness()["resources"]
    return [queue for channel in link["channels"] for queue in channel["queues"]]


@pytest.mark.parametrize("name", ["label", "q"])  # one that is missing, one that is there
async def test_a_queue_that_the_broker_refuses_is_a_warning_and_publishing_goes_on(
    side: AsyncioSide, vhost_url: str, broker: Broker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway_for(post("/p", producer(vhost_url, "ex"))):
        """The exchange, and the queue that gets the messages, are there."""

    def may(configure: str, write: str) -> str:
        return add_user(broker, vhost_url, configure=configure, write=write)

    user = await to_thread.run_sync(may, "^ex$", "^ex$")
    config = configuration(
        post("/other", producer(user, "ex", name="")),
        post("/p", producer(user, "ex", name=name)),
    )
    async with open_gateway(config) as gateway:
        for path in ("/p", "/other", "/p"):
            assert (await ask(gateway.asgi, "POST", path, b"x")).status == 200
        assert gateway.readiness()["ready"]
        (queue,) = queues_of(gateway)
    assert queue["queue"] == name
    assert "ACCESS_REFUSED" in queue["problem"]
    assert caplog.text.count(f"queue '{name}' (routing key 'key') of a producer: ") == 1
    assert await side.run(drain, vhost_url, "q") == [b"x"] * 3


async def test_a_refused_queue_is_declared_again_later(
    side: AsyncioSide, vhost_url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.amqp.publish.producer_queue.QUEUE_REDECLARE_INTERVAL", 0.1)

    def may(configure: str) -> str:
        return add_user(broker, vhost_url, configure=configure)

    user = await to_thread.run_sync(may, "^ex$")
    config = configuration(post("/p", producer(user, "ex")))
    async with open_gateway(config) as gateway:
        await until(lambda: "ACCESS_REFUSED" in queues_of(gateway)[0]["problem"])
        await to_thread.run_sync(may, ".*")
        await until(lambda: not queues_of(gateway)[0]["problem"])
        assert (await ask(gateway.asgi, "POST", "/p", b"x")).status == 200
    assert await side.run(drain, vhost_url, "q") == [b"x"]


async def test_a_missing_queue_that_is_not_to_be_created_is_a_warning(
    side: AsyncioSide, vhost_url: str
) -> None:
    async with gateway_for(post("/p", producer(vhost_url, "ex"))):
        """The exchange is there."""
    config = configuration(post("/p", producer(vhost_url, "ex", name="nosuch", declare="passive")))
    async with open_gateway(config) as gateway:
        assert (await ask(gateway.asgi, "POST", "/p", b"x")).status == 200
        assert "no queue 'nosuch'" in queues_of(gateway)[0]["problem"]
    assert await side.run(drain, vhost_url, "q") == [b"x"]
