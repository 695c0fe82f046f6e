"""A gateway mounted into a Starlette application, under any ASGI server.

GATEWAY_CONFIG=krakend.json uvicorn examples.mounted:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from gateway import open_gateway


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    async with open_gateway(os.environ["GATEWAY_CONFIG"]) as gateway:
        app.state.gateway = gateway
        yield


async def hello(request: Request) -> Response:
    return JSONResponse({"hello": "world"})


async def queues(scope: Any, receive: Any, send: Any) -> None:
    """Below /queues the path is the gateway's own."""
    path = scope["path"].removeprefix(scope["root_path"])
    await scope["app"].state.gateway.asgi({**scope, "path": path}, receive, send)


app = Starlette(routes=[Route("/hello", hello), Mount("/queues", app=queues)], lifespan=lifespan)
