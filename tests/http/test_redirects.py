"""Redirects of backends."""

from __future__ import annotations

import pytest

from gateway import open_gateway
from gateway.server import ServeSettings

from ..server.client import connect, get, receive_all
from ..server.client import serving as serving_app
from .service import Connection, Service, answering, message, serving
from .test_backend import asking, configuration

pytestmark = pytest.mark.anyio


async def test_a_redirect_is_followed_to_another_host() -> None:
    with serving(answering(message(b'{"a":1}'))) as other:
        moved = message(b"", "302 Found", f"Location: {other.url}/there?x=1")
        with serving(answering(moved)) as service:
            async with asking(configuration(service.url)) as client:
                assert (await client.get("/")).json() == {"a": 1}
    assert other.requests[0].startswith(b"GET /there?x=1 HTTP/1.1")
    assert f"Referer: {service.url}/b".encode() in other.requests[0]


async def test_the_tenth_redirect_is_not_followed() -> None:
    with serving(answering(message(b"", "302 Found", "Location: /again"))) as service:
        async with asking(configuration(service.url)) as client:
            text = (await client.get("/")).text
    assert text == 'Get "/again": stopped after 10 redirects'
    assert len(service.requests) == 10


async def test_a_body_follows_a_redirect_when_the_configuration_says_so() -> None:
    def script(service: Service, connection: Connection, request: bytes) -> None:
        is_first = request.startswith(b"POST /b ")
        moved = message(b"", "307 Moved", "Location: /there")
        connection.sendall(moved if is_first else message(b'{"a":1}'))

    resends = {"backend/http/client": {"send_body_on_redirect": True}}
    for extra, status in ((resends, 200), ({}, 500)):
        with serving(script) as service:
            config = configuration(service.url, method="POST", extra_config=extra)
            async with asking(config) as client:
                answer = await client.request("GET", "/", content=b"body")
                assert answer.status_code == status
        assert all(request.endswith(b"\r\n\r\nbody") for request in service.requests)


async def test_a_redirect_may_lead_to_a_host_that_was_never_called() -> None:
    with serving(answering(message(b'{"a":1}'))) as target:
        moved = message(b"", "302 Found", f"Location: {target.url}/x")
        with serving(answering(moved)) as service:
            async with open_gateway(configuration(service.url)) as gateway:
                # A server starts its tasks in a context that knows of no async library.
                async with serving_app(gateway.asgi, ServeSettings(grace=1)) as (port, _):
                    client = await connect(port)
                    await client.send(get("/", "Connection: close"))
                    assert (await receive_all(client)).endswith(b'{"a":1}')
