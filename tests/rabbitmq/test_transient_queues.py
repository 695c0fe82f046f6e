"""A RabbitMQ that refuses transient queues, as 4.3 does: 4.0 can be configured so."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from bench.process import configuration, consumer, endpoint, producer
from gateway import Gateway, open_gateway
from gateway.core.bridge import AsyncioSide
from gateway.demo.broker import Broker, open_broker
from gateway.testing.rules import RABBITMQ_3_10
from tests.brokers import chosen_root
from tests.router.support import ask

from .amqp import publish, rules, until
from .test_producer import post

pytestmark = pytest.mark.anyio

FEATURE = "transient_nonexcl_queues"
REFUSED = "Unexpected connection close"
"""In aiormq's log."""


@pytest.fixture(scope="module")
def strict_broker(broker: Broker) -> Generator[Broker]:
    """``broker``: skips the tests when there is no RabbitMQ."""
    if rules() is RABBITMQ_3_10:
        pytest.skip("RabbitMQ 3.10 cannot refuse transient queues")
    with open_broker(root=chosen_root()) as strict:
        strict.ctl("eval", f"rabbit_feature_flags:enable({FEATURE}).")
        yield strict


@pytest.fixture
def strict_url(strict_broker: Broker, request: pytest.FixtureRequest) -> str:
    """The URL of a virtual host of its own."""
    return strict_broker.add_vhost(f"strict-{request.node.callspec.id}")


async def test_a_refused_transient_queue_affects_only_its_own_endpoint(
    side: AsyncioSide, strict_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.amqp")
    config = configuration(
        endpoint("/bad", consumer(strict_url, "bad", durable=False, exchange="")),
        endpoint("/good", consumer(strict_url, "good")),
        post("/publish", producer(strict_url, "transient", name="bad", durable=False)),
    )
    async with open_gateway(config) as gateway:
        await until(lambda: FEATURE in problems(gateway)["bad"])
        await until(lambda: FEATURE in problems(gateway)["bad, of a producer"])
        await until(lambda: not problems(gateway)["good"])
        connections, refusals = caplog.text.count("connected ("), caplog.text.count(REFUSED)
        assert connections <= 4  # two links, each interrupted once
        await until(lambda: caplog.text.count(REFUSED) >= refusals + 2)
        await side.run(publish, strict_url, "good", [b'{"n":1}'])
        assert (await ask(gateway.asgi, "GET", "/good")).body == b'{"n":1}'
        assert (await ask(gateway.asgi, "GET", "/bad")).status == 503
        assert (await ask(gateway.asgi, "POST", "/publish", b"x")).status == 200
        assert caplog.text.count("connected (") == connections


def problems(gateway: Gateway) -> dict[str, str]:
    """The problem of each queue, as readiness shows it."""
    found = {}
    for link in gateway.readiness()["resources"]:
        for channel in link["channels"]:
            found[channel.get("queue", "")] = channel["problem"]
            for queue in channel.get("queues", ()):
                found[f"{queue['queue']}, of a producer"] = queue["problem"]
    return found
