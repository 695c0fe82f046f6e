"""A plain AMQP client: it sends what a test says, and keeps all that comes. Runs under asyncio."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pamqp.frame
from anyio import fail_after
from msgspec import Struct
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader, ProtocolHeader
from pamqp.heartbeat import Heartbeat

from gateway.amqp.connection.urls import parse_broker_url
from gateway.core.bridge import Connect

F = TypeVar("F", bound=Frame)

QUIET_TIME = 0.1
"""Seconds in which nothing more may come."""

CAPABILITIES: dict[str, Any] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}


class Received(Struct):
    """A method, with its content if it has one."""

    channel: int
    method: Frame
    properties: commands.Basic.Properties | None = None
    body: bytes = b""
    missing: int = 0

    @property
    def tag(self) -> int:
        assert isinstance(self.method, commands.Basic.Deliver | commands.Basic.GetOk)
        assert self.method.delivery_tag is not None
        return self.method.delivery_tag

    @property
    def consumer(self) -> str:
        assert isinstance(self.method, commands.Basic.Deliver)
        return self.method.consumer_tag or ""

    @property
    def is_redelivered(self) -> bool:
        assert isinstance(self.method, commands.Basic.Deliver | commands.Basic.GetOk)
        return bool(self.method.redelivered)

    @property
    def headers(self) -> dict[str, Any]:
        assert self.properties is not None
        return dict(self.properties.headers or {})


class PeerClient(asyncio.Protocol):
    """``received``: what no test has taken yet. ``is_lost``: the broker has closed the socket."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.is_lost = False
        self._bytes = b""
        self._open: Received | None = None
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        for channel, frame in self._frames():
            if isinstance(frame, Heartbeat):
                continue
            if isinstance(frame, Frame):
                self._open = Received(channel, frame)
                if isinstance(
                    frame, commands.Basic.Deliver | commands.Basic.GetOk | commands.Basic.Return
                ):
                    continue
            elif isinstance(frame, ContentHeader):
                assert self._open is not None
                self._open.properties = frame.properties
                self._open.missing = frame.body_size
            else:
                assert self._open is not None
                self._open.body += frame.value
                self._open.missing -= len(frame.value)
            if not self._open.missing:
                self.received.append(self._open)
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._changed.set()

    def _frames(self) -> Iterator[tuple[int, Any]]:
        while len(self._bytes) >= 8:
            size = struct.unpack_from(">I", self._bytes, 3)[0] + 8
            if len(self._bytes) < size:
                return
            whole, self._bytes = self._bytes[:size], self._bytes[size:]
            _, channel, frame = pamqp.frame.unmarshal(whole)
            yield channel, frame

    # What tests call.

    def send(self, *methods: FrameTypes, channel: int = 1) -> None:
        """All in one write."""
        self.write(b"".join(pamqp.frame.marshal(each, channel) for each in methods))

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def abort(self) -> None:
        """Close the socket without closing the connection by AMQP."""
        assert self._transport is not None
        self._transport.abort()

    def publish(
        self,
        routing_key: str,
        *bodies: bytes,
        exchange: str = "",
        mandatory: bool = False,
        channel: int = 1,
        **properties: Any,
    ) -> None:
        for body in bodies:
            method = commands.Basic.Publish(0, exchange, routing_key, mandatory)
            header = ContentHeader(0, len(body), commands.Basic.Properties(**properties))
            largest = 100_000
            pieces = [body[at : at + largest] for at in range(0, len(body), largest)]
            self.send(method, header, *map(ContentBody, pieces), channel=channel)

    async def next(self, kind: type[F], channel: int | None = None) -> Received:
        """The first received method of this kind that no test has taken. A channel or connection
        that the broker closes instead is an error."""
        with fail_after(10):
            while True:
                for each in self.received:
                    if isinstance(each.method, kind) and channel in (None, each.channel):
                        self.received.remove(each)
                        return each
                closed = commands.Channel.Close | commands.Connection.Close
                for each in self.received:
                    if isinstance(each.method, closed) and each.channel in (0, channel):
                        raise AssertionError(f"closed: {dict(each.method)}")
                self._changed.clear()
                await self._changed.wait()

    async def call(self, method: Frame, response: type[F], channel: int = 1) -> F:
        """Send a method, and wait for its response."""
        self.send(method, channel=channel)
        answer = (await self.next(response, channel)).method
        assert isinstance(answer, response)
        return answer

    async def deliveries(self, number: int, channel: int | None = None) -> list[Received]:
        """So many deliveries, and no more."""
        found = [await self.next(commands.Basic.Deliver, channel) for _ in range(number)]
        await asyncio.sleep(QUIET_TIME)
        more = [each for each in self.received if isinstance(each.method, commands.Basic.Deliver)]
        assert [each.body for each in more if channel in (None, each.channel)] == []
        return found

    async def open_channel(self, channel: int = 1) -> None:
        await self.call(commands.Channel.Open(), commands.Channel.OpenOk, channel)

    async def declare(
        self, queue: str, channel: int = 1, **options: Any
    ) -> commands.Queue.DeclareOk:
        return await self.call(
            commands.Queue.Declare(queue=queue, **options), commands.Queue.DeclareOk, channel
        )

    async def consume(self, queue: str, tag: str, channel: int = 1, **options: Any) -> None:
        method = commands.Basic.Consume(queue=queue, consumer_tag=tag, **options)
        await self.call(method, commands.Basic.ConsumeOk, channel)

    async def qos(self, prefetch: int, channel: int = 1) -> None:
        await self.call(commands.Basic.Qos(prefetch_count=prefetch), commands.Basic.QosOk, channel)

    async def get(self, queue: str, channel: int = 1, *, no_ack: bool = False) -> Received | None:
        """The next message of a queue; None when it is empty."""
        self.send(commands.Basic.Get(queue=queue, no_ack=no_ack), channel=channel)
        with fail_after(10):
            while True:
                for each in self.received:
                    if isinstance(each.method, commands.Basic.GetEmpty):
                        self.received.remove(each)
                        return None
                    if isinstance(each.method, commands.Basic.GetOk):
                        self.received.remove(each)
                        return each
                self._changed.clear()
                await self._changed.wait()

    async def get_all(self, queue: str, channel: int = 1) -> list[bytes]:
        """The bodies of all ready messages, which stay unacknowledged."""
        bodies = []
        while (message := await self.get(queue, channel)) is not None:
            bodies.append(message.body)
        return bodies

    async def until_ready(self, queue: str, number: int, channel: int = 1) -> None:
        """Wait until so many messages are ready."""
        with fail_after(10):
            while (await self.declare(queue, channel, passive=True)).message_count != number:
                await asyncio.sleep(0.02)

    async def closed(self, *, connection: bool = False) -> tuple[int, str, tuple[int, int]]:
        """Wait until the broker closes a channel, or the connection. Returns code, text, and the
        class and method that it refused."""
        kind = commands.Connection.Close if connection else commands.Channel.Close
        received = await self.next(kind)
        method = received.method
        assert isinstance(method, commands.Connection.Close | commands.Channel.Close)
        answer = commands.Connection.CloseOk() if connection else commands.Channel.CloseOk()
        self.send(answer, channel=received.channel)
        return (
            method.reply_code or 0,
            method.reply_text or "",
            (method.class_id or 0, method.method_id or 0),
        )

    async def log_in(self, url: str, channels: int) -> None:
        parsed = parse_broker_url(url)
        user, password = parsed.aiormq.user, parsed.aiormq.password
        self.send(ProtocolHeader(), channel=0)
        await self.next(commands.Connection.Start, 0)
        await self.call(
            commands.Connection.StartOk(
                {"capabilities": CAPABILITIES}, "PLAIN", f"\0{user}\0{password}"
            ),
            commands.Connection.Tune,
            0,
        )
        self.send(commands.Connection.TuneOk(2047, 131_072, 0), channel=0)
        await self.call(commands.Connection.Open(parsed.vhost), commands.Connection.OpenOk, 0)
        for channel in range(1, channels + 1):
            await self.open_channel(channel)

    async def close(self) -> None:
        """Close the connection by AMQP, if the broker has not done so."""
        if not self.is_lost:
            self.send(commands.Connection.Close(200, "bye", 0, 0), channel=0)
            with fail_after(10):
                while not self.is_lost and not any(
                    isinstance(each.method, commands.Connection.CloseOk) for each in self.received
                ):
                    self._changed.clear()
                    await self._changed.wait()
            self.abort()


@asynccontextmanager
async def open_client(
    url: str, connect: Connect | None = None, channels: int = 1
) -> AsyncGenerator[PeerClient]:
    """A client that is logged in, with channels from number 1 on."""
    parsed = parse_broker_url(url).aiormq
    opener: Connect = connect or asyncio.get_running_loop().create_connection
    _, client = await opener(PeerClient, parsed.host, parsed.port)
    assert isinstance(client, PeerClient)
    await client.log_in(url, channels)
    try:
        yield client
    finally:
        await client.close()
