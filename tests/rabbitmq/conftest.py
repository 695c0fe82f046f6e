"""Fixtures of tests on a real broker."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from gateway.core.bridge import AsyncioSide, open_asyncio_side


@pytest.fixture
async def side() -> AsyncGenerator[AsyncioSide]:
    async with open_asyncio_side() as side:
        yield side
