"""The gateway as an application that a foreign server opens and closes.

GATEWAY_CONFIG=krakend.json uvicorn examples.asgi:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from gateway import ASGIApp, open_gateway, with_lifespan


@asynccontextmanager
async def open_app() -> AsyncGenerator[ASGIApp]:
    async with open_gateway(os.environ["GATEWAY_CONFIG"]) as gateway:
        yield gateway.asgi


app = with_lifespan(open_app)
