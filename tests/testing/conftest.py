"""Fixtures: a broker in memory, and the asyncio side whose connections lead to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from gateway.core.bridge import AsyncioSide, open_asyncio_side
from gateway.testing.memory_broker import MemoryBroker


@pytest.fixture
def memory() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def side(memory: MemoryBroker) -> AsyncGenerator[AsyncioSide]:
    async with open_asyncio_side(memory.create_connection) as side:
        yield side
