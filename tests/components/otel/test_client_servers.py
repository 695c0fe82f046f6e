"""How requests to HTTP backends are counted whose clients leave: real servers, real clients."""

from __future__ import annotations

import pytest
from anyio import to_thread

from gateway import open_gateway
from gateway.server import ServeSettings
from gateway.server.settings import ServerName

from ...http.service import serving
from ...server.client import connect, get, receive_until
from ...server.client import serving as serving_app
from .client_backends import (
    CANCELED,
    FAILED,
    HEAD,
    STARTED,
    TIMED_OUT,
    Held,
    endpoint,
    measured,
    scrape,
    wait_scrape,
)

pytestmark = pytest.mark.anyio

STACKS: list[tuple[str, ServerName]] = [
    ("asyncio", "http1"),
    ("asyncio", "hypercorn"),
    ("trio", "hypercorn"),
]


@pytest.fixture(params=STACKS, ids="-".join)
def stack(request: pytest.FixtureRequest) -> tuple[str, ServerName]:
    pair: tuple[str, ServerName] = request.param
    return pair


@pytest.fixture
def anyio_backend(stack: tuple[str, ServerName]) -> str:
    return stack[0]


@pytest.fixture
def settings(stack: tuple[str, ServerName]) -> ServeSettings:
    return ServeSettings(server=stack[1], grace=1)


async def test_a_client_that_leaves_before_the_headers(settings: ServeSettings) -> None:
    backend = Held()
    with serving(backend) as service:
        async with (
            open_gateway(measured(endpoint(service.url))) as gateway,
            serving_app(gateway.asgi, settings) as (port, _),
        ):
            client = await connect(port)
            await client.send(get("/e"))
            assert await to_thread.run_sync(backend.is_asked.wait, 20)
            await client.aclose()
            found = await wait_scrape(gateway, STARTED)
            backend.go_on.set()
    assert found.value(STARTED, http_response_status_code="0") == 1
    assert found.value(CANCELED, http_response_status_code="0") == 1
    assert found.value(FAILED) == found.value(TIMED_OUT) == -1


async def test_a_client_that_leaves_while_a_stream_arrives(settings: ServeSettings) -> None:
    backend = Held(HEAD + b"Content-Length: 8\r\n\r\n[1,2")
    with serving(backend) as service:
        config = measured(endpoint(service.url, output_encoding="no-op"))
        async with (
            open_gateway(config) as gateway,
            serving_app(gateway.asgi, settings) as (port, _),
        ):
            client = await connect(port)
            await client.send(get("/e"))
            await receive_until(client, b"[1,2")
            await client.aclose()
            found = await wait_scrape(gateway, "http_client_response_read_size_total")
            backend.go_on.set()
    assert found.value(STARTED, http_response_status_code="200") == 1
    assert found.value(CANCELED) == found.value(FAILED) == -1
    assert found.value("http_client_response_read_size_total", error="true") == 4


async def test_a_timeout_is_no_client_that_leaves(settings: ServeSettings) -> None:
    backend = Held()
    with serving(backend) as service:
        config = measured(endpoint(service.url, timeout="100ms"))
        async with (
            open_gateway(config) as gateway,
            serving_app(gateway.asgi, settings) as (port, _),
        ):
            client = await connect(port)
            await client.send(get("/e"))
            await receive_until(client, b"\r\n\r\n")
            found = await scrape(gateway)
            await client.aclose()
            backend.go_on.set()
    assert found.value(FAILED) == found.value(TIMED_OUT) == 1
    assert found.value(CANCELED) == -1
