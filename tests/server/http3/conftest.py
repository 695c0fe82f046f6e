"""A server of HTTP/3 that is up."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from ..client import serving
from .application import SETTINGS, Application


@pytest.fixture
async def app() -> Application:
    return Application()


@pytest.fixture
async def port(app: Application) -> AsyncGenerator[int]:
    async with serving(app, SETTINGS) as (port, _):
        yield port
