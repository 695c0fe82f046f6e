"""Messages over HTTP/3: acknowledged when the client has acknowledged the answer."""

from __future__ import annotations

import pytest
from aioquic.h3.connection import ErrorCode
from anyio import sleep

from bench.process import consumer, endpoint
from gateway.core.bridge import AsyncioSide

from ..server.client import serving
from ..server.http3.application import SETTINGS
from ..server.http3.client import connected
from .amqp import gateway_for, publish, until_count

pytestmark = pytest.mark.anyio


async def test_a_message_is_acknowledged_when_the_client_confirms_the_response(
    side: AsyncioSide, vhost_url: str
) -> None:
    async with gateway_for(endpoint("/a", consumer(vhost_url, "a"))) as app:
        await side.run(publish, vhost_url, "a", [b'{"a":0}', b'{"a":1}'])
        async with serving(app, SETTINGS) as (port, _):
            async with connected(port) as deaf, connected(port) as client:
                stream = deaf.get(path=b"/a")
                deaf.is_silent = True
                await deaf.until(lambda: deaf.answers[stream].body)
                assert deaf.answers[stream].body == b'{"a":0}'
                assert (await client.answered(client.get(path=b"/a"))).body == b'{"a":1}'
                # The client has not confirmed the response in time: the message is given back.
                assert (await client.answered(client.get(path=b"/a"))).body == b'{"a":0}'
                await side.run(publish, vhost_url, "a", [b'{"a":2}', b'{"a":3}'])
                client.closes_at_once = ErrorCode.H3_NO_ERROR
                assert (await client.answered(client.get(path=b"/a"))).body == b'{"a":2}'
    await until_count(side, vhost_url, "a", 1)


async def test_a_request_that_is_cancelled_takes_no_message(
    side: AsyncioSide, vhost_url: str
) -> None:
    async with gateway_for(endpoint("/a", consumer(vhost_url, "a"), timeout="20s")) as app:
        async with serving(app, SETTINGS) as (port, _):
            async with connected(port) as client:
                client.cancel(client.get(path=b"/a"))
                client.request(b"GET", b"/a")
                client.close()
            async with connected(port) as client:
                client.closes_at_once = ErrorCode.H3_NO_ERROR
                waiting = client.get(path=b"/a")
                await sleep(0.2)
                await side.run(publish, vhost_url, "a", [b'{"a":1}', b'{"a":2}'])
                assert (await client.answered(waiting)).body == b'{"a":1}'
    await until_count(side, vhost_url, "a", 1)
