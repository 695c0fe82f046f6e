"""A gateway with layers, without a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from gateway import open_gateway
from gateway.app.service import Gateway

from ..router.support import Client, Reply, http_scope

BACKEND = {"url_pattern": "/", "host": ["http://127.0.0.1:10"]}


class GatewayClient:
    """Sends requests to one gateway; ``target``: "GET /path"."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(
        self, target: str, headers: Mapping[str, str] = {}, **scope: object
    ) -> Reply:
        client = Client()
        method, path = target.split(" ")
        given = {"host": "gateway.test", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in given.items()]
        asked = http_scope(method, path, headers=pairs, **scope)
        await self._gateway.asgi(asked, client.receive, client.send)
        return client.reply


@asynccontextmanager
async def layered(
    extra: Mapping[str, object], path: str = "/shop"
) -> AsyncGenerator[GatewayClient]:
    """A gateway with that ``extra_config`` and one endpoint, whose backend cannot be reached."""
    config = {
        "version": 3,
        "debug_endpoint": True,
        "endpoints": [{"endpoint": path, "backend": [BACKEND]}],
        "extra_config": extra,
    }
    async with open_gateway(config) as gateway:
        yield GatewayClient(gateway)
