"""An application that a foreign server opens and closes."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from anyio import Event, create_memory_object_stream, create_task_group, fail_after

from gateway.core.asgi import ASGIApp, Message
from gateway.core.tasks import open_tasks
from gateway.router.lifespan import with_lifespan

from .support import application, ask, endpoint, telling

pytestmark = pytest.mark.anyio

LIFESPAN = {"type": "lifespan", "asgi": {"version": "3.0"}}


class Server:
    """The server's side of a lifespan: what it tells, what it was told, one message at a time."""

    def __init__(self) -> None:
        self._tell, self._told = create_memory_object_stream[Message](2)
        self._say, self.said = create_memory_object_stream[Message](2)

    async def receive(self) -> Message:
        return await self._told.receive()

    async def send(self, message: Message) -> None:
        await self._say.send(message)

    async def tell(self, event: str) -> Message:
        await self._tell.send({"type": f"lifespan.{event}"})
        return await self.said.receive()

    async def run(self, app: ASGIApp) -> None:
        await app(LIFESPAN, self.receive, self.send)

    def close(self) -> None:
        for stream in (self._tell, self._told, self._say, self.said):
            stream.close()


Opener = Callable[[], AbstractAsyncContextManager[ASGIApp]]


def opener(events: list[str]) -> Opener:
    @asynccontextmanager
    async def open_app() -> AsyncGenerator[ASGIApp]:
        events.append("opened")
        async with open_tasks():  # a cancel scope must be left in the task that entered it
            yield application(endpoint("GET", "/a", telling))
        events.append("closed")

    return open_app


async def test_application_is_open_between_start_up_and_shutdown() -> None:
    events: list[str] = []
    app, server = with_lifespan(opener(events)), Server()
    with fail_after(5):
        async with create_task_group() as servers:
            servers.start_soon(server.run, app)
            assert await server.tell("startup") == {"type": "lifespan.startup.complete"}
            assert (await ask(app, "GET", "/a")).status == 200
            assert events == ["opened"]
            assert await server.tell("shutdown") == {"type": "lifespan.shutdown.complete"}
    assert events == ["opened", "closed"]
    assert (await ask(app, "GET", "/a")).status == 503
    server.close()


async def test_without_lifespan_events_requests_are_503() -> None:
    events: list[str] = []
    reply = await ask(with_lifespan(opener(events)), "GET", "/a")
    assert reply.status == 503
    assert b"lifespan" in reply.body
    assert events == []


async def test_failed_opening_is_told_with_its_message(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def open_app() -> AsyncGenerator[ASGIApp]:
        raise ValueError("$.port: expected a number")
        yield

    server = Server()
    with fail_after(5), caplog.at_level(logging.CRITICAL):
        async with create_task_group() as servers:
            servers.start_soon(server.run, with_lifespan(open_app))
            told = await server.tell("startup")
    assert told == {"type": "lifespan.startup.failed", "message": "$.port: expected a number"}
    server.close()


async def test_failed_closing_is_told_with_its_message(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def open_app() -> AsyncGenerator[ASGIApp]:
        yield application()
        raise ValueError("cannot close")

    server = Server()
    with fail_after(5), caplog.at_level(logging.CRITICAL):
        async with create_task_group() as servers:
            servers.start_soon(server.run, with_lifespan(open_app))
            await server.tell("startup")
            told = await server.tell("shutdown")
    assert told == {"type": "lifespan.shutdown.failed", "message": "cannot close"}
    server.close()


async def test_cancelled_server_closes_the_application() -> None:
    events: list[str] = []
    app, server = with_lifespan(opener(events)), Server()
    closed = Event()

    async def run() -> None:
        try:
            await server.run(app)
        finally:
            closed.set()

    with fail_after(5):
        async with create_task_group() as servers:
            servers.start_soon(run)
            await server.tell("startup")
            servers.cancel_scope.cancel()
    assert closed.is_set()
    assert (await ask(app, "GET", "/a")).status == 503
    server.close()


async def test_an_open_application_answers_lifespan_events_too() -> None:
    server = Server()
    with fail_after(5):
        async with create_task_group() as servers:
            servers.start_soon(server.run, application())
            assert await server.tell("startup") == {"type": "lifespan.startup.complete"}
            assert await server.tell("shutdown") == {"type": "lifespan.shutdown.complete"}
    server.close()
