"""A peer that speaks just enough AMQP to bring a client to a stage, and then breaks the rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pamqp.frame
from pamqp import commands
from pamqp.base import Frame
from pamqp.header import ProtocolHeader

STAGES = ("header", "open", "declare", "ready")
"""What the client has just said when the peer does what it should not; "ready": it consumes."""

START = commands.Connection.Start(
    server_properties={"capabilities": {"publisher_confirms": True}}, mechanisms="PLAIN"
)
ANSWERS: dict[type, tuple[str, Callable[[Any], Frame] | None]] = {
    commands.Connection.StartOk: (
        "start_ok",
        lambda _: commands.Connection.Tune(2047, 131_072, 60),
    ),
    commands.Connection.TuneOk: ("tune_ok", None),
    commands.Connection.Open: ("open", lambda _: commands.Connection.OpenOk()),
    commands.Channel.Open: ("channel", lambda _: commands.Channel.OpenOk()),
    commands.Queue.Declare: ("declare", lambda it: commands.Queue.DeclareOk(it.queue, 0, 0)),
    commands.Basic.Qos: ("qos", lambda _: commands.Basic.QosOk()),
    commands.Basic.Consume: ("consume", lambda it: commands.Basic.ConsumeOk(it.consumer_tag)),
    commands.Basic.Cancel: ("cancel", lambda it: commands.Basic.CancelOk(it.consumer_tag)),
    commands.Channel.Close: ("close", lambda _: commands.Channel.CloseOk()),
    commands.Connection.Close: ("bye", lambda _: commands.Connection.CloseOk()),
}


class Hostile:
    """Behaves at its first connection as ``stage`` and ``attack`` say, then well.

    ``connections``: how many there were. ``attack``: bytes to send; empty: hang up.
    """

    def __init__(self, stage: str, attack: bytes) -> None:
        self.connections = 0
        self._stage = stage
        self._attack = attack

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        is_bad = self.connections == 1
        try:
            await reader.readexactly(len(ProtocolHeader().marshal()))
            if is_bad and self._stage == "header":
                await self._do_harm(reader, writer)
                return
            writer.write(pamqp.frame.marshal(START, 0))
            while True:
                channel, frame = await _read(reader)
                stage, answer = ANSWERS.get(type(frame), ("other", None))
                if is_bad and stage == self._stage:
                    await self._do_harm(reader, writer)
                    return
                if answer is not None:
                    writer.write(pamqp.frame.marshal(answer(frame), channel))
                if is_bad and self._stage == "ready" and stage == "consume":
                    await self._do_harm(reader, writer)
                    return
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    async def _do_harm(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._attack:
            writer.write(self._attack)
            await reader.read()  # until the client hangs up


async def _read(reader: asyncio.StreamReader) -> tuple[int, object]:
    head = await reader.readexactly(7)
    rest = await reader.readexactly(int.from_bytes(head[3:7]) + 1)
    _, channel, frame = pamqp.frame.unmarshal(head + rest)
    return channel, frame


@asynccontextmanager
async def listening(peer: Hostile) -> AsyncGenerator[str]:
    """The URL of the peer. Runs under asyncio."""
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    try:
        yield f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/?heartbeat=1&connection_timeout=1000"
    finally:
        server.close()
