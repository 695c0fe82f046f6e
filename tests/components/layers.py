"""A gateway with layers, asked directly."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway import open_gateway

from ..router.support import Client, Reply, http_scope

BACKEND = {"url_pattern": "/", "host": ["http://127.0.0.1:10"]}


class Asked:
    """Asks one gateway; ``target``: "GET /path"."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway

    async def __call__(self, target: str, headers: Mapping[str, str] = {}, **scope: Any) -> Reply:
        client = Client()
        method, path = target.split(" ")
        given = {"host": "gateway.test", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in given.items()]
        asked = http_scope(method, path, headers=pairs, **scope)
        await self._gateway.asgi(asked, client.receive, client.send)
        return client.reply


@asynccontextmanager
async def layered(extra: Mapping[str, Any], path: str = "/shop") -> AsyncGenerator[Asked]:
    """A gateway with that ``extra_config`` and one endpoint, whose backend is never there."""
    config = {
        "version": 3,
        "debug_endpoint": True,
        "endpoints": [{"endpoint": path, "backend": [BACKEND]}],
        "extra_config": extra,
    }
    async with open_gateway(config) as gateway:
        yield Asked(gateway)
