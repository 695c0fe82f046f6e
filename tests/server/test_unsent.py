"""Bytes that wait for clients: bounded in all, on every server of TCP."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
from anyio import (
    BrokenResourceError,
    EndOfStream,
    create_task_group,
    fail_after,
    sleep,
)
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from gateway.core.asgi import Receive, Scope, Send
from gateway.router.lifespan import answer_lifespan
from gateway.server import Limits, ServeSettings
from gateway.server.settings import ServerName
from gateway.server.unsent import Unsent

from .client import connect, get, note_arrival, receive_all, serving, until
from .servers import anyio_backend, pair

__all__ = ["anyio_backend", "pair"]

pytestmark = pytest.mark.anyio

LIMITS = Limits(answer_time=30, unsent_bytes=3_000_000)
SIZE = 20_000_000


@pytest.fixture
def settings(pair: tuple[str, ServerName]) -> ServeSettings:
    return ServeSettings(server=pair[1], limits=LIMITS, grace=1)


class Application:
    """Answers with ``size`` bytes and writes down what became of the answers, by their paths."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.asked: list[str] = []
        self.left: dict[str, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        path = scope["path"]
        self.asked.append(path)
        while scope["method"] == "POST" and (await receive()).get("more_body"):
            pass
        try:
            headers = [(b"content-length", b"%d" % self.size)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * self.size})
            connection = scope["extensions"]["gateway.connection"]
            await note_arrival(connection, partial(self.left.__setitem__, path))
        except OSError:  # as the router takes it
            self.left[path] = False


async def ask(port: int, path: str) -> ByteStream:
    client = await connect(port)
    await client.send(get(path, "Connection: close"))
    await client.receive()
    return client


async def test_clients_that_do_not_read_are_cut_off_before_too_much_waits_for_them(
    settings: ServeSettings,
) -> None:
    app = Application()
    async with serving(app, settings) as (port, _):
        silent = [await ask(port, f"/{number}") for number in range(4)]
        await until(lambda: {"/0", "/1", "/2"} <= app.left.keys())
        assert not any(app.left.values())
        reader = await ask(port, "/reader")
        with fail_after(20):
            assert len(await receive_all(reader)) + 65_536 >= SIZE
        await until(lambda: "/reader" in app.left)
        assert app.left["/reader"]
        for client in silent:
            await client.aclose()


async def test_a_client_that_reads_too_slowly_is_cut_off_in_time(
    settings: ServeSettings,
) -> None:
    limits = replace(LIMITS, answer_time=1)
    app = Application()
    async with serving(app, replace(settings, limits=limits)) as (port, _):
        client = await ask(port, "/slow")

        async def trickle() -> None:
            with suppress(EndOfStream, BrokenResourceError):
                while "/slow" not in app.left:
                    await client.receive(1000)
                    await sleep(0.01)

        async with create_task_group() as tasks:
            tasks.start_soon(trickle)
            await until(lambda: app.left)
        assert app.left == {"/slow": False}


class Reader:
    def __init__(self, size: int) -> None:
        self.size = size
        self.is_cut_off = False

    def unsent(self) -> int:
        return self.size

    def cut_off(self) -> None:
        self.is_cut_off = True


async def test_who_has_waited_longest_and_taken_nothing_is_cut_off_first(
    pair: tuple[str, ServerName],
) -> None:
    unsent = Unsent(100)
    slow, silent, late = Reader(40), Reader(40), Reader(40)
    for reader in (slow, silent):
        unsent.wait(reader, 40)
    slow.size = 30
    unsent.wait(late, 40)
    assert [slow.is_cut_off, silent.is_cut_off, late.is_cut_off] == [False, True, False]
    assert unsent.size == 70
    unsent.wait(late, 1_000)  # the newest may be as large as it is
    assert [slow.is_cut_off, late.is_cut_off] == [True, False]
    unsent.wait(late, 0)
    assert unsent.size == 0
    await checkpoint()
