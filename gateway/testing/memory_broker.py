"""The broker in memory, as tests use it: where it is reached, what is in it, and its faults.

    broker = MemoryBroker()
    async with open_asyncio_side(broker.create_connection) as side:
        link = Link((parse_broker_url(broker.url),), "consume", side)

All methods are called on the event loop that the connections run on.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from random import Random
from ssl import SSLContext

from .broker import BrokerState
from .content import StoredMessage
from .queue import BrokerQueue, Cancel
from .rules import RABBITMQ_4_0, BrokerRefusal, BrokerRules
from .session import CONNECTION_FORCED
from .transport import MemoryNetwork, MemoryTransport

NO_PROPERTIES = b"\x00\x00"


class MemoryBroker:
    """``url``: an address for settings; every host and port leads to this broker.

    ``rules``: the version of RabbitMQ. ``latency``: seconds that bytes travel. ``seed``: bytes
    arrive in pieces of random sizes; None: they arrive together. ``users``: passwords by name;
    None: every login is accepted.

    ``is_available``: false: connections are refused. ``connections``: those that are open.
    """

    def __init__(
        self,
        rules: BrokerRules = RABBITMQ_4_0,
        *,
        latency: float = 0.0,
        seed: int | None = None,
        users: dict[str, str] | None = None,
    ) -> None:
        self.url = "amqp://guest:guest@broker.memory/"
        self.state = BrokerState(rules, _call_later, lambda: asyncio.get_running_loop().time())
        self.is_available = True
        self.connections: list[MemoryTransport] = []
        self.accepted = 0
        self._network = MemoryNetwork(latency, None if seed is None else Random(seed))  # noqa: S311
        self._users = users
        self._hangs = False
        self._blocked_reason = ""

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        ssl: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> tuple[MemoryTransport, asyncio.BaseProtocol]:
        """As the method of the event loop. There is no TLS: ``ssl`` has no effect."""
        if self._network.latency:
            await asyncio.sleep(self._network.latency)
        if not self.is_available:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
        loop, protocol = asyncio.get_running_loop(), protocol_factory()
        transport = MemoryTransport(
            loop,
            protocol,
            self.state,
            self._network,
            self._users,
            self.connections.remove,
            (host, port),
        )
        self.connections.append(transport)
        self.accepted += 1
        transport.session.block(self._blocked_reason)
        if self._hangs:
            transport.hang()
        protocol.connection_made(transport)
        return transport, protocol

    # What is in it.

    def publish(
        self,
        routing_key: str,
        bodies: Iterable[bytes],
        exchange: str = "",
        properties: bytes = NO_PROPERTIES,
    ) -> None:
        """Publish, as a client would. ``properties``: flags and values, as in a content header."""
        for body in bodies:
            self.state.publish(StoredMessage(exchange, routing_key, properties, body))

    def queue(self, name: str) -> BrokerQueue:
        """Raises KeyError when it does not exist."""
        return self.state.queues[name]

    def count(self, name: str) -> tuple[int, int]:
        """Messages that are ready, and consumers."""
        queue = self.queue(name)
        return len(queue), len(queue.consumers)

    def delete_queue(self, name: str) -> None:
        self.state.remove_queue(self.queue(name))

    # Faults.

    def cut(self) -> None:
        """Every connection is lost without a word."""
        for each in tuple(self.connections):
            each.lose()

    def close_connections(
        self, code: int = CONNECTION_FORCED, text: str = "CONNECTION_FORCED - test"
    ) -> None:
        """Close every connection by AMQP, as an operator does."""
        for each in tuple(self.connections):
            each.session.close(code, text)

    def close_channels(self, text: str = "delivery acknowledgement on channel 1 timed out") -> None:
        """Close every channel with an error (406), as after ``consumer_timeout``."""
        refusal = BrokerRefusal(406, text)
        for each in tuple(self.connections):
            for number in tuple(each.session.channels):
                each.session.close_channel(number, refusal)

    def cancel_consumers(self, name: str) -> None:
        """Cancel the consumers of a queue that stays, as when its leader changes."""
        self.queue(name).cancel_consumers()

    def reject_messages(self, *, falls_silent: bool = False) -> None:
        """The channels that are open reject every message from now on (Basic.Nack): RabbitMQ 3.10,
        when the leader of a quorum queue is down that a channel has published to first. A channel
        that ``falls_silent`` rejects one message and does not respond to the next ones."""
        for each in self.connections:
            for channel in each.session.channels.values():
                channel.rejects_messages, channel.falls_silent = True, falls_silent

    def stop_at_bindings(self) -> None:
        """Each channel stops at its next Queue.Bind, as while another node of a cluster hangs."""
        self.state.responds_to_bindings = False

    def resume_bindings(self) -> None:
        """The end of :meth:`stop_at_bindings`."""
        self.state.responds_to_bindings = True
        for each in tuple(self.connections):
            each.session.resume_channels()

    def hang(self) -> None:
        """Bytes are no longer read or answered, on new connections neither."""
        self._hangs = True
        for each in self.connections:
            each.hang()

    def resume(self) -> None:
        """The end of :meth:`hang`: the bytes that wait are processed."""
        self._hangs = False
        for each in tuple(self.connections):
            each.resume()

    def block(self, reason: str = "low on memory") -> None:
        """An alarm: a connection that publishes is blocked with its next message."""
        self._blocked_reason = reason
        for each in self.connections:
            each.session.block(reason)

    def unblock(self) -> None:
        self._blocked_reason = ""
        for each in tuple(self.connections):
            each.session.unblock()


def _call_later(seconds: float, action: Callable[[], object]) -> Cancel:
    return asyncio.get_running_loop().call_later(seconds, action).cancel
