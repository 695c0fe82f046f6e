"""What a node of RabbitMQ does while another one of the cluster hangs or is down; virtual time."""

from __future__ import annotations

from collections import Counter

import pytest
from anyio import sleep

from gateway.amqp.publish.publication import Outcome
from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.testing.memory_broker import NO_PROPERTIES, MemoryBroker
from gateway.testing.routing import BrokerBinding
from gateway.testing.virtual_time import VirtualTimeLoop
from tests.rabbitmq.amqp import until
from tests.rabbitmq.test_closed_for_error import Outcomes, open_publishers, publish

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualTimeLoop}


# Rejected messages.


async def test_a_channel_that_rejects_messages_is_replaced_within_a_second(
    memory: MemoryBroker, side: AsyncioSide
) -> None:
    outcomes: Outcomes = []
    async with open_publishers(side, memory.url, "ex") as [publisher]:
        publish(publisher, b"1", NO_PROPERTIES, outcomes)
        await until(lambda: len(outcomes) == 1)
        memory.reject_messages()
        publish(publisher, b"2", NO_PROPERTIES, outcomes)
        await sleep(0.9)
        assert publisher.is_ready
        publish(publisher, b"3", NO_PROPERTIES, outcomes)
        await until(lambda: len(outcomes) == 3)
    assert outcomes == [
        (b"1", Outcome.CONFIRMED),
        (b"2", Outcome.REFUSED),
        (b"3", Outcome.CONFIRMED),
    ]
    assert memory.accepted == 1


@pytest.mark.parametrize("latency", [0.0, 0.01, 0.1, 0.2, 0.4, 0.6])
async def test_while_a_channel_is_replaced_each_message_is_settled_once(latency: float) -> None:
    memory, outcomes = MemoryBroker(latency=latency), Outcomes()
    async with open_asyncio_side(memory.create_connection) as side:
        async with open_publishers(side, memory.url, "ex") as [publisher]:
            memory.state.declare_queue("q")
            memory.state.bind("ex", BrokerBinding("q", "#"))
            for number in range(1000):
                if number == 100:
                    memory.reject_messages()
                publish(publisher, b"%d" % number, NO_PROPERTIES, outcomes)
                await sleep(0.01)
            await until(lambda: len(outcomes) == 1000, seconds=20)
    counts = Counter(outcome for _, outcome in outcomes)
    assert len({key for key, _ in outcomes}) == 1000
    assert counts[Outcome.CONFIRMED] == memory.count("q")[0]
    if latency <= 0.2:
        assert counts[Outcome.CONFIRMED] > 850
