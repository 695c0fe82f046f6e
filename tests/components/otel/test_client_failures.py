"""How requests to HTTP backends are counted that fail or end too early, as in KrakenD 2.13.8."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import Event, create_task_group, to_thread

from gateway import open_gateway
from gateway.app.service import Gateway

from ...http.service import Connection, Service, answering, message, serving
from ...router.support import Client, ask, http_scope
from .client_backends import (
    CANCELED,
    FAILED,
    HEAD,
    READ_LABELS,
    STARTED,
    TIMED_OUT,
    Held,
    endpoint,
    measured,
    scrape,
    scraped,
    wait_scrape,
)

pytestmark = pytest.mark.anyio


class Leaving(Client):
    """A client that the test disconnects. ``has_bytes``: a part of the body has come."""

    def __init__(self) -> None:
        super().__init__()
        self.leave = Event()
        self.has_bytes = Event()

    async def receive(self) -> Any:
        if self._body:
            return await super().receive()
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message.get("body"):
            self.has_bytes.set()


async def requesting(gateway: Gateway, client: Client) -> None:
    await gateway.asgi(http_scope("GET", "/e"), client.receive, client.send)


async def test_a_failure_status_is_not_a_failed_request() -> None:
    found = await scraped(message(b"no", "500 Internal Server Error"))
    assert found.value(STARTED, http_response_status_code="500") == 1
    assert found.value(FAILED) == -1


async def test_a_refused_connection_is_a_failed_request() -> None:
    with serving(answering(b"")) as service:
        port = service.port
    config = measured(endpoint(f"http://127.0.0.1:{port}"))
    async with open_gateway(config) as gateway:
        await ask(gateway.asgi, "GET", "/e")
        found = await scrape(gateway)
    assert found.value(STARTED, http_response_status_code="0") == 1
    assert found.value(FAILED, http_response_status_code="0", server_port=str(port)) == 1
    assert found.value(TIMED_OUT) == found.value(CANCELED) == -1
    assert found.value("http_client_duration_count") == 1
    assert found.value("http_client_request_get_conn_duration_sum") == 0
    assert found.types("http_client_response_read") == {}


async def test_a_connection_that_is_closed_without_a_response_is_a_failed_request() -> None:
    def script(service: Service, connection: Connection, request: bytes) -> bool:
        return False

    found = await scraped(script)
    assert found.value(FAILED, http_response_status_code="0") == 1
    assert found.value(TIMED_OUT) == -1


@pytest.mark.parametrize("encoding", ["json", "no-op"])
async def test_a_timeout_before_the_headers(encoding: str) -> None:
    backend = Held()
    found = await scraped(backend, timeout="100ms", output_encoding=encoding)
    backend.go_on.set()
    assert found.value(STARTED, http_response_status_code="0") == 1
    assert found.value(FAILED) == found.value(TIMED_OUT) == 1
    assert found.value(CANCELED) == -1
    assert found.value("http_client_duration_sum") >= 0.09


@pytest.mark.parametrize(("encoding", "error"), [("json", {"error": "true"}), ("no-op", {})])
async def test_a_timeout_while_the_body_arrives(encoding: str, error: dict[str, str]) -> None:
    backend = Held(HEAD + b"Content-Length: 8\r\n\r\n[1,2")
    found = await scraped(backend, timeout="1s", output_encoding=encoding)
    backend.go_on.set()
    assert found.value(STARTED, http_response_status_code="200") == 1
    assert found.value(FAILED) == found.value(TIMED_OUT) == -1
    assert found.value("http_client_response_size_sum") == 8
    [read] = found.series("http_client_response_read_size_total")
    assert read.value == 4
    assert {*read.labels} == READ_LABELS | {*error}


@pytest.mark.parametrize("encoding", ["json", "no-op"])
async def test_a_body_that_the_backend_cuts(encoding: str) -> None:
    def script(service: Service, connection: Connection, request: bytes) -> bool:
        connection.sendall(HEAD + b"Content-Length: 500\r\n\r\n[1,2,")
        return False

    found = await scraped(script, output_encoding=encoding)
    assert found.value(STARTED, http_response_status_code="200") == 1
    assert found.value(FAILED) == -1
    assert found.value("http_client_response_size_sum") == 500
    assert found.value("http_client_response_read_size_total", error="true") == 5


@pytest.mark.parametrize("encoding", ["json", "no-op"])
async def test_a_client_that_leaves_before_the_headers(encoding: str) -> None:
    backend, client = Held(), Leaving()
    with serving(backend) as service:
        config = measured(endpoint(service.url, output_encoding=encoding))
        async with open_gateway(config) as gateway, create_task_group() as tasks:
            tasks.start_soon(requesting, gateway, client)
            assert await to_thread.run_sync(backend.is_asked.wait, 20)
            client.leave.set()
            found = await wait_scrape(gateway, CANCELED)
            backend.go_on.set()
    assert found.value(STARTED, http_response_status_code="0") == 1
    assert found.value(CANCELED, http_response_status_code="0") == 1
    assert found.value(FAILED) == found.value(TIMED_OUT) == -1


async def test_a_client_that_leaves_while_a_stream_arrives() -> None:
    backend, client = Held(HEAD + b"Content-Length: 8\r\n\r\n[1,2"), Leaving()
    with serving(backend) as service:
        config = measured(endpoint(service.url, output_encoding="no-op"))
        async with open_gateway(config) as gateway, create_task_group() as tasks:
            tasks.start_soon(requesting, gateway, client)
            await client.has_bytes.wait()
            client.leave.set()
            found = await wait_scrape(gateway, "http_client_response_read_size_total")
            backend.go_on.set()
    assert found.value(STARTED, http_response_status_code="200") == 1
    assert found.value(CANCELED) == found.value(FAILED) == -1
    assert found.value("http_client_response_read_size_total", error="true") == 4


async def test_a_stream_is_measured_at_its_headers_and_at_its_end() -> None:
    backend, client = Held(HEAD + b"Content-Length: 8\r\n\r\n[1,2", b",34]"), Leaving()
    with serving(backend) as service:
        config = measured(endpoint(service.url, output_encoding="no-op"))
        async with open_gateway(config) as gateway, create_task_group() as tasks:
            tasks.start_soon(requesting, gateway, client)
            await client.has_bytes.wait()
            at_headers = await scrape(gateway)
            backend.go_on.set()
            found = await wait_scrape(gateway, "http_client_response_read_size_total")
            client.leave.set()
    assert at_headers.value("http_client_duration_count") == 1
    assert at_headers.types("http_client_response_read") == {}
    [read] = found.series("http_client_response_read_size_total")
    assert (read.value, {*read.labels}) == (8, READ_LABELS)


async def test_a_refused_connection_to_a_name_is_a_failed_request() -> None:
    with serving(answering(b"")) as service:
        port = service.port
    config = measured(endpoint(f"http://localhost:{port}"))
    config["extra_config"]["router"] = {"return_error_msg": True}
    async with open_gateway(config) as gateway:
        reply = await ask(gateway.asgi, "GET", "/e")
        found = await scrape(gateway)
    assert reply.body.endswith(b"connect: connection refused")
    labels = {"server_address": "localhost", "server_port": str(port)}
    assert found.value(FAILED, http_response_status_code="0", **labels) == 1
