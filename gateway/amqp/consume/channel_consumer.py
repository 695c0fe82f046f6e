"""Starts, replaces and stops the AMQP consumer of a subscription.

RabbitMQ applies a new prefetch (``basic.qos``) to new consumers only. So a change of the prefetch
needs a new consumer. It is started before the old one is cancelled, because RabbitMQ deletes some
queues when their last consumer is cancelled.
"""

from __future__ import annotations

from itertools import count
from uuid import uuid4

from aiormq.channel import Channel

from ..connection.link import call, call_uninterrupted
from ..connection.topology import consume
from ..settings import ConsumerSettings


class ChannelConsumer:
    """The consumer of one channel: none or one, two only while one is replaced."""

    def __init__(self, settings: ConsumerSettings, channel: Channel) -> None:
        self._settings = settings
        self._channel = channel
        self._running: list[str] = []
        self._numbers = count(1)

    async def replace(self, prefetch: int) -> None:
        """Consume with this prefetch from now on; 0: stop. Raises :class:`LinkError`."""
        old = tuple(self._running)
        if not prefetch:
            await self._cancel(old)
            return
        method = consume(self._settings, self._new_tag())
        if method.exclusive:
            await self._cancel(old)
            old = ()
        await call_uninterrupted(self._channel.basic_qos(prefetch_count=prefetch))
        self._channel.consumers[method.consumer_tag] = _never_called
        self._running.append(method.consumer_tag)
        await call_uninterrupted(self._channel.rpc(method))
        await self._cancel(old)

    async def stop(self) -> None:
        """Cancel the consumer, before the channel is closed. Raises :class:`LinkError`."""
        for tag in self._running:
            await call(self._channel.basic_cancel(tag))

    async def _cancel(self, tags: tuple[str, ...]) -> None:
        for tag in tags:
            await call_uninterrupted(self._channel.basic_cancel(tag))
            self._running.remove(tag)

    def _new_tag(self) -> str:
        """A new tag: RabbitMQ closes the connection when a channel uses a tag twice (530)."""
        number = next(self._numbers)
        wanted = self._settings.consumer_tag
        if not wanted:
            return f"hutch-gateway.{uuid4().hex}"
        return wanted if number == 1 else f"{wanted}.{number}"


async def _never_called(message: object) -> None:
    """aiormq needs a callback for each consumer. Deliveries of tapped channels do not reach it."""
