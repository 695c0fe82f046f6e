"""Fixtures of tests on a real broker, and of those that run on the broker in memory too."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from itertools import count

import pytest

from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.testing.memory_broker import MemoryBroker

from .amqp import MEMORY, connect, rules

_numbers = count(1)


@pytest.fixture
async def side() -> AsyncGenerator[AsyncioSide]:
    """Its connections lead to a broker in memory, where the URL is that of one."""
    async with open_asyncio_side(connect) as side:
        yield side


@pytest.fixture(params=["memory", "rabbitmq"])
def any_url(request: pytest.FixtureRequest) -> Generator[str]:
    """The URL of a broker that no other test uses: RabbitMQ, or the broker in memory with the rules
    of the same version."""
    if request.param == "rabbitmq":
        yield request.getfixturevalue("vhost_url")
        return
    host = f"memory-{next(_numbers)}.test"
    MEMORY[host] = MemoryBroker(rules())
    yield f"amqp://guest:guest@{host}/"
    del MEMORY[host]
