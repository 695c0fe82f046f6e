"""Messages with anything in their properties and bodies: each ends only its own handling."""

from __future__ import annotations

from struct import pack
from typing import Any

import aiormq
import pytest
from anyio import create_task_group, wait_all_tasks_blocked
from pamqp.commands import Basic

from bench.process import agent, configuration, consumer, endpoint, producer
from gateway.amqp.wire.properties import HEADERS
from gateway.app.service import open_gateway
from gateway.core.bridge import AsyncioSide
from tests.router.support import Reply, ask

from .amqp import gateway_for, publish, until, until_count

pytestmark = pytest.mark.anyio

LONG = (b"L", pack(">q", 2**40))
"""An integer beyond 32 bits, as py-amqp writes it."""
KINDS = [
    (b"t", b"\1"), (b"b", b"\xff"), (b"B", b"\xff"), (b"s", b"\xff" * 2), (b"u", b"\xff" * 2),
    (b"I", b"\xff" * 4), (b"i", b"\xff" * 4), (b"l", pack(">q", -(2**40))), LONG,
    (b"f", pack(">f", 1.5)), (b"d", pack(">d", 1.5)), (b"D", b"\2\0\0\0\5"),
    (b"T", pack(">Q", 2**62)), (b"S", b"\0\0\0\1\xff"), (b"x", b"\0\0\0\1\xff"),
    (b"A", b"\0\0\0\1V"), (b"F", b"\0\0\0\x03\1aV"), (b"V", b""),
]  # fmt: skip
"""Each type of field that RabbitMQ knows, and a value."""


class Encoded(Basic.Properties):
    """Properties of which the only one is a table of these fields, as they are."""

    def __init__(self, *fields: tuple[bytes, bytes]) -> None:
        super().__init__()
        self._fields = b"".join([b"\1" + kind + kind + value for kind, value in fields])

    def marshal(self) -> bytes:
        return pack(">HI", HEADERS, len(self._fields)) + self._fields


async def publish_with(url: str, queue: str, body: bytes, *fields: tuple[bytes, bytes]) -> None:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.basic_publish(body, routing_key=queue, properties=Encoded(*fields))


FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}


@pytest.mark.parametrize("fields", [[LONG], KINDS])
async def test_a_message_with_any_header_can_be_given_up_and_its_agent_goes_on(
    side: AsyncioSide, vhost_url: str, fields: list[tuple[bytes, bytes]]
) -> None:
    refusing = agent(
        vhost_url,
        "from",
        producer(vhost_url, "to", name="target", arguments=FULL),
        max_redeliveries=1,
        retry={"delay": "10ms"},
        dead_letter={"exchange": "", "routing_key": "dead"},
    )
    async with gateway_for(
        endpoint("/dead", consumer(vhost_url, "dead")), async_agent=[refusing]
    ) as app:
        await side.run(publish_with, vhost_url, "from", b'{"n":1}', *fields)
        await side.run(publish_with, vhost_url, "from", b'{"n":2}')
        assert (await ask(app, "GET", "/dead")).json() == {"n": 1}
        assert (await ask(app, "GET", "/dead")).json() == {"n": 2}
    await until_count(side, vhost_url, "from", 0)


async def test_an_agent_moves_a_message_with_any_header(side: AsyncioSide, vhost_url: str) -> None:
    moving = agent(vhost_url, "from", producer(vhost_url, "to", name="target"))
    async with open_gateway(configuration(async_agent=[moving])) as gateway:
        await until(lambda: gateway.readiness()["ready"])
        await side.run(publish_with, vhost_url, "from", b"x", *KINDS)
        await until_count(side, vhost_url, "target", 1)
    await until_count(side, vhost_url, "from", 0)


def with_encoding(backend: dict[str, Any], encoding: str) -> dict[str, Any]:
    return {**backend, "encoding": encoding}


OUT_OF_RANGE = b"0001-01-01T00:00:00+23:00"
FEED = b"<rss><channel><item><pubDate>%b</pubDate></item></channel></rss>" % OUT_OF_RANGE


async def test_a_feed_with_a_date_that_python_does_not_have_is_answered(
    side: AsyncioSide, vhost_url: str
) -> None:
    feed = endpoint("/feed", with_encoding(consumer(vhost_url, "a"), "rss"))
    async with gateway_for(feed) as app:
        await side.run(publish, vhost_url, "a", [FEED])
        reply = await ask(app, "GET", "/feed")
    assert (reply.status, reply.json()["items"]) == (
        200,
        [{"published": OUT_OF_RANGE.decode()}],
    )


@pytest.mark.parametrize("error", [OverflowError, RecursionError, MemoryError, ZeroDivisionError])
async def test_a_message_whose_decoder_raises_anything_is_parked(
    side: AsyncioSide,
    vhost_url: str,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(body: bytes) -> dict[str, Any]:
        if body == b"bad":
            raise error("odd")
        return {"body": body.decode()}

    monkeypatch.setattr("gateway.encoding.manipulation.build_decoder", lambda *_: decode)
    queue = endpoint("/a", consumer(vhost_url, "a"))
    async with gateway_for(queue) as app:
        await side.run(publish, vhost_url, "a", [b"bad", b"good"])
        assert (await ask(app, "GET", "/a")).status == 502
        assert (await ask(app, "GET", "/a")).json() == {"body": "good"}
    await until_count(side, vhost_url, "a", 1)


LARGE = b"<a>%b</a>" % (b"<b/>" * 20_000)


@pytest.mark.parametrize("waits", [False, True])
async def test_a_large_message_is_decoded_in_a_helper_process(
    side: AsyncioSide, vhost_url: str, waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "gateway.helpers")
    backend = with_encoding(consumer(vhost_url, "a"), "xml")
    queue = endpoint("/a", {**backend, "allow": ["a"]}, timeout="100s")
    replies: list[Reply] = []

    async def get() -> None:
        replies.append(await ask(app, "GET", "/a"))

    async with gateway_for(queue) as app:
        if waits:  # requested before there is a message
            async with create_task_group() as requests:
                requests.start_soon(get)
                await wait_all_tasks_blocked()
                await side.run(publish, vhost_url, "a", [LARGE])
        else:
            await side.run(publish, vhost_url, "a", [LARGE])
            await get()
    assert "helper process" in caplog.text
    assert replies[0].json() == {"a": {"b": [""] * 20_000}}
    await until_count(side, vhost_url, "a", 0)


@pytest.mark.parametrize("settings", [{}, {"wait": "20s"}])
async def test_a_large_message_that_is_not_decoded_in_time_is_parked(
    side: AsyncioSide, vhost_url: str, settings: dict[str, Any]
) -> None:
    backend = with_encoding(consumer(vhost_url, "a", **settings), "xml")
    queue = endpoint("/a", backend, timeout="50ms")
    async with gateway_for(queue) as app:
        await side.run(publish, vhost_url, "a", [LARGE, b"<a>1</a>"])
        statuses: list[int] = []
        while not statuses or statuses[-1] != 200:
            statuses.append((await ask(app, "GET", "/a")).status)
        assert set(statuses) <= {200, 204, 500, 502}
    await until_count(side, vhost_url, "a", 1)


async def test_a_large_message_that_cannot_be_decoded_is_parked(
    side: AsyncioSide, vhost_url: str
) -> None:
    queue = endpoint("/a", with_encoding(consumer(vhost_url, "a"), "xml"), timeout="100s")
    async with gateway_for(queue) as app:
        await side.run(publish, vhost_url, "a", [LARGE[:-1], b"<a>1</a>"])
        assert (await ask(app, "GET", "/a")).status == 502
        assert (await ask(app, "GET", "/a")).json() == {"a": "1"}
    await until_count(side, vhost_url, "a", 1)
