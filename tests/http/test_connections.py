"""Connections to backends: how long they are kept, and what ends them and their requests."""

from __future__ import annotations

import time
from typing import Any

import pytest
from anyio import Event, sleep, to_thread

from gateway import open_gateway

from .service import Connection, Service, answering, message, serving
from .test_backend import asking, configuration

pytestmark = pytest.mark.anyio


async def test_a_get_is_sent_again_when_a_used_connection_turns_out_to_be_closed() -> None:
    def script(service: Service, connection: Connection, request: bytes) -> bool:
        if len(service.requests) == 2:
            return False  # the request on the used connection: closed without a byte
        connection.sendall(message(b'{"n":%d}' % len(service.requests)))
        return True

    with serving(script) as service:
        async with asking(configuration(service.url)) as client:
            assert (await client.get("/")).json() == {"n": 1}
            assert (await client.get("/")).json() == {"n": 3}


async def test_a_post_is_never_sent_twice() -> None:
    def script(service: Service, connection: Connection, request: bytes) -> bool:
        if len(service.requests) == 2:
            return False
        connection.sendall(message())
        return True

    with serving(script) as service:
        config = configuration(service.url, method="POST")
        async with asking(config) as client:
            await client.get("/")
            assert (await client.get("/")).status_code == 500
    assert len(service.requests) == 2


async def test_an_endpoints_deadline_closes_the_connection_that_is_late() -> None:
    def silent(service: Service, connection: Connection, request: bytes) -> None:
        """Answers nothing."""

    with serving(silent) as service:
        config = configuration(service.url, root={"timeout": "100ms"})
        async with asking(config) as client:
            answer = await client.get("/")
            assert (answer.status_code, answer.text) == (500, "context deadline exceeded")
            assert await to_thread.run_sync(service.closed.wait, 5)


async def test_a_merge_says_that_a_backend_was_late() -> None:
    def silent(service: Service, connection: Connection, request: bytes) -> None:
        """Answers nothing."""

    with serving(silent) as late, serving(answering(message(b'{"a":1}'))) as quick:
        config = configuration(late.url, root={"timeout": "200ms"})
        backends = config["endpoints"][0]["backend"]
        backends.append({**backends[0], "host": [quick.url]})
        async with asking(config) as client:
            answer = await client.get("/")
            assert (answer.status_code, answer.json()) == (200, {"a": 1})
            assert answer.headers["x-krakend-completed"] == "false"


async def test_connections_are_not_kept_when_they_shall_not() -> None:
    with serving(answering(message())) as service:
        config = configuration(service.url, root={"disable_keep_alives": True})
        async with asking(config) as client:
            for _ in range(2):
                assert (await client.get("/")).status_code == 200
    assert service.accepted == 2
    assert b"Connection: close" in service.requests[0]


async def test_headers_that_are_late_end_the_request() -> None:
    def silent(service: Service, connection: Connection, request: bytes) -> None:
        """Answers nothing."""

    with serving(silent) as service:
        config = configuration(service.url, root={"response_header_timeout": "50ms"})
        async with asking(config) as client:
            answer = await client.get("/")
            assert "no response in time" in answer.text
            assert await to_thread.run_sync(service.closed.wait, 5)


async def test_a_body_may_come_later_than_its_headers_must() -> None:
    def slow(service: Service, connection: Connection, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        time.sleep(0.15)
        connection.sendall(b"{}")

    with serving(slow) as service:
        config = configuration(service.url, root={"response_header_timeout": "100ms"})
        async with asking(config) as client:
            assert (await client.get("/")).status_code == 200


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    with serving(answering(message())) as service:
        config = configuration(service.url, root={"idle_connection_timeout": "50ms"})
        async with asking(config) as client:
            await client.get("/")
            assert await to_thread.run_sync(service.closed.wait, 5)


@pytest.mark.parametrize("key", ["max_idle_connections", "max_idle_connections_per_host"])
async def test_no_more_connections_stay_idle_than_may(key: str) -> None:
    with serving(answering(message(b'{"a": 1}'))) as service:
        config = configuration(service.url, root={key: 1})
        backends = [{"url_pattern": "/", "host": [service.url], "group": name} for name in "ab"]
        config["endpoints"][0]["backend"] = backends
        async with asking(config) as client:
            await client.get("/")
            assert await to_thread.run_sync(service.closed.wait, 5)


async def test_idle_connections_are_closed_with_the_gateway() -> None:
    with serving(answering(message())) as service:
        async with asking(configuration(service.url)) as client:
            await client.get("/")
            assert not service.closed.is_set()
        assert await to_thread.run_sync(service.closed.wait, 5)


async def test_a_dial_that_takes_too_long_ends_the_request() -> None:
    config = configuration("http://192.0.2.1", root={"dialer_timeout": "50ms"})
    async with asking(config) as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "dial tcp 192.0.2.1: " in answer.text


async def test_a_client_that_goes_takes_its_request_with_it() -> None:
    """The pipe withdraws: the backend sees its connection closed."""

    def silent(service: Service, connection: Connection, request: bytes) -> None:
        """Answers nothing."""

    with serving(silent) as service:
        async with open_gateway(configuration(service.url)) as gateway:
            asked = Event()

            async def receive() -> dict[str, Any]:
                if not asked.is_set():
                    asked.set()
                    return {"type": "http.request", "body": b"", "more_body": False}
                while not service.requests:
                    await sleep(0.005)
                return {"type": "http.disconnect"}

            async def send(message: dict[str, Any]) -> None:
                raise AssertionError("nobody is there")

            scope = {
                "type": "http",
                "method": "GET",
                "path": "/",
                "query_string": b"",
                "headers": [],
                "http_version": "1.1",
            }
            await gateway.asgi(scope, receive, send)
            assert await to_thread.run_sync(service.closed.wait, 5)
