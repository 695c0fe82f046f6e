"""An asyncio transport in memory, between a protocol and a session of the broker. No socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from msgspec import Struct

from .broker import BrokerState
from .session import BrokerSession

HIGH_WATER = 64 * 1024
"""Bytes in the send buffer at which the protocol must pause, as in asyncio."""


class MemoryNetwork(Struct, frozen=True):
    """How bytes travel. ``latency``: seconds in each direction. ``random``: cuts the bytes into
    pieces of random sizes; None: each turn of the event loop delivers all of them."""

    latency: float = 0.0
    random: Random | None = None

    def piece(self, size: int) -> int:
        """Bytes of the next piece, of ``size`` that wait."""
        return size if self.random is None else self.random.randint(1, min(size, 64))


class _Stream:
    """Bytes on their way in one direction, in their order. ``deliver`` gets them. ``end`` is called
    after the last ones, once :meth:`finish` was called. ``is_stopped``: they wait."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        network: MemoryNetwork,
        deliver: Callable[[bytes], object],
        end: Callable[[], object],
    ) -> None:
        self.is_stopped = False
        self._loop = loop
        self._network = network
        self._deliver = deliver
        self._end = end
        self._waiting = bytearray()
        self._is_finishing = False
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._waiting += data
        self._schedule()

    def finish(self) -> None:
        self._is_finishing = True
        self._schedule()

    def resume(self) -> None:
        self.is_stopped = False
        self._schedule()

    def clear(self) -> None:
        """Lose the bytes that wait."""
        self._waiting.clear()
        self._is_finishing = False

    def _schedule(self) -> None:
        if self._is_scheduled or self.is_stopped or not (self._waiting or self._is_finishing):
            return
        self._is_scheduled = True
        if self._network.latency:
            self._loop.call_later(self._network.latency, self._run)
        else:
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        if self.is_stopped:
            return
        if self._waiting:
            size = self._network.piece(len(self._waiting))
            data = bytes(self._waiting[:size])
            del self._waiting[:size]
            self._deliver(data)
        elif self._is_finishing:
            self._is_finishing = False
            self._end()
        self._schedule()


class MemoryTransport(asyncio.Transport):
    """The client's end of a connection. ``session``: the broker's end.

    ``ended``: called once, when the connection has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        broker: BrokerState,
        network: MemoryNetwork,
        users: dict[str, str] | None,
        ended: Callable[[MemoryTransport], object],
        peer: tuple[str, int],
    ) -> None:
        super().__init__({"peername": peer, "sockname": ("127.0.0.1", 0)})
        self._loop = loop
        self._protocol: Any = protocol
        self._ended = ended
        self._to_client = _Stream(loop, network, self._received, self._peer_closed)
        self._to_broker = _Stream(loop, network, self._sent, self._end)
        self.session = BrokerSession(broker, self._to_client.write, self._to_client.finish, users)
        self._heartbeat: asyncio.TimerHandle | None = None
        self._last_sent = loop.time()
        self._limits = (HIGH_WATER // 4, HIGH_WATER)
        self._is_full = False
        self._is_closing = False
        self._has_ended = False
        self._is_peer_closed = False

    # asyncio.Transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        if self._is_peer_closed:
            self._loop.call_soon(self.lose, ConnectionResetError("connection reset by peer"))
            return
        self._to_broker.write(data)
        if not self._is_full and len(self._to_broker) > self._limits[1]:
            self._is_full = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """The bytes that are written still arrive."""
        if not self._is_closing:
            self._is_closing = True
            self._to_client.clear()
            if self._to_broker.is_stopped:
                self._loop.call_soon(self._end)
            else:
                self._to_broker.finish()

    def abort(self) -> None:
        self._is_closing = True
        self._loop.call_soon(self._end)

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._to_client.is_stopped

    def pause_reading(self) -> None:
        self._to_client.is_stopped = True

    def resume_reading(self) -> None:
        self._to_client.resume()

    def get_write_buffer_size(self) -> int:
        return len(self._to_broker)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._limits

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        high = HIGH_WATER if high is None else high
        self._limits = (high // 4 if low is None else low, high)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    # Faults.

    def lose(self, error: Exception | None = None) -> None:
        """Both ends lose the connection, without a word of AMQP."""
        self._is_closing = True
        self._end(error or ConnectionResetError("connection reset by peer"))

    def hang(self) -> None:
        """The broker reads and answers nothing more."""
        self._to_broker.is_stopped = True
        self._stop_heartbeats()

    def resume(self) -> None:
        """The broker reads again."""
        self._last_sent = self._loop.time()
        self._to_broker.resume()
        self._keep_heartbeats()

    # The two streams.

    def _received(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def _peer_closed(self) -> None:
        """The broker has closed its end."""
        self._is_peer_closed = True
        if not self._protocol.eof_received():
            self.close()

    def _sent(self, data: bytes) -> None:
        self._last_sent = self._loop.time()
        self.session.feed(data)
        self._keep_heartbeats()
        if self._is_full and len(self._to_broker) <= self._limits[0]:
            self._is_full = False
            self._protocol.resume_writing()

    def _end(self, error: Exception | None = None) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._stop_heartbeats()
            self._to_client.clear()
            self._to_broker.clear()
            self.session.lost()
            self._ended(self)
            self._protocol.connection_lost(error)

    # Heartbeats of the broker.

    def _keep_heartbeats(self) -> None:
        if self.session.heartbeat and self._heartbeat is None and not self._has_ended:
            half = self.session.heartbeat / 2
            self._heartbeat = self._loop.call_later(half, self._beat)

    def _beat(self) -> None:
        """RabbitMQ sends one each half interval, and ends a connection that is silent for two."""
        self._heartbeat = None
        if self._loop.time() - self._last_sent > 2 * self.session.heartbeat:
            self.lose()
            return
        self.session.beat()
        self._keep_heartbeats()

    def _stop_heartbeats(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            self._heartbeat = None
