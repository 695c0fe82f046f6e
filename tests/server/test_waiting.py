"""A request that waits for a guard, over real sockets."""

from __future__ import annotations

import pytest
from anyio import Event, aclose_forcefully, fail_after, sleep_forever

from gateway.server import ServeSettings

from ..router.support import application, endpoint, telling
from .client import connect, get, receive_until, serving
from .test_serve import anyio_backend, pair, settings

__all__ = ["anyio_backend", "pair", "settings"]

pytestmark = pytest.mark.anyio


async def test_a_guard_does_not_wait_for_a_client_that_has_gone(settings: ServeSettings) -> None:
    begun, ended = Event(), Event()

    async def wait() -> None:
        begun.set()
        try:
            await sleep_forever()
        finally:
            ended.set()

    route = endpoint("GET", "/", telling)._replace(guards=[lambda request: wait()])
    async with serving(application(route), settings) as (port, _):
        client = await connect(port)
        await client.send(get())
        with fail_after(10):
            await begun.wait()
            await aclose_forcefully(client)
            await ended.wait()


async def test_a_body_that_comes_while_a_guard_waits_is_whole(settings: ServeSettings) -> None:
    begun, may_end = Event(), Event()

    async def wait() -> None:
        begun.set()
        await may_end.wait()

    route = endpoint("POST", "/", telling, reads_body=True)
    route = route._replace(guards=[lambda request: wait()])
    async with serving(application(route), settings) as (port, _):
        client = await connect(port)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")
        with fail_after(10):
            await begun.wait()
            await client.send(b"a" * 450)
            may_end.set()
            await client.send(b"a" * 450)
            assert b"a" * 900 in await receive_until(client, b"}")
