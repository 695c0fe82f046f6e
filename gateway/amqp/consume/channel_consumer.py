"""Starts, replaces and stops the AMQP consumer of a subscription.

RabbitMQ applies a new prefetch (``basic.qos``) to new consumers only. So a change of the prefetch
needs a new consumer. It is started before the old one is cancelled, because RabbitMQ deletes some
queues when their last consumer is cancelled.

The methods are written here and not by aiormq: some have to be in one write with other frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from uuid import uuid4

from aiormq.channel import Channel
from pamqp.base import Frame
from pamqp.commands import Basic
from pamqp.frame import marshal

from ..connection.link import LinkError, call_uninterrupted
from ..connection.topology import consume
from ..settings import ConsumerSettings


class ChannelConsumer:
    """The consumer of one channel: none or one, two only while one is replaced.

    ``write``: writes frames. :class:`.subscription_channel.SubscriptionChannel` calls ``changed``
    and ``ended``.
    """

    def __init__(
        self, settings: ConsumerSettings, channel: Channel, write: Callable[[bytes], None]
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._write = write
        self._tag = ""
        self._numbers = count(1)
        self._responses: dict[str, asyncio.Future[None]] = {}
        self._end_reason = ""

    async def replace(self, prefetch: int) -> None:
        """Consume with this prefetch from now on; 0: stop. Raises :class:`LinkError`.

        At its end every delivery of the old consumer has arrived. A cancellation waits for that: a
        consumer in an unknown state would be of no use.
        """
        old = self._tag
        if not prefetch:
            await self._cancel(old)
            return
        method = consume(self._settings, self._new_tag())
        if method.exclusive:
            await self._cancel(old)
            old = ""
        qos = self._frame(Basic.Qos(prefetch_count=prefetch))
        self._tag = method.consumer_tag
        self._channel.consumers[self._tag] = _never_called
        await self._call(self._tag, qos + self._frame(method))
        await self._cancel(old)

    def cancel_nowait(self) -> bytes:
        """The frame that cancels the consumer without a response, to be written by the caller.
        Deliveries that RabbitMQ has sent before still arrive."""
        tag, self._tag = self._tag, ""
        self._channel.consumers.pop(tag, None)
        return self._frame(Basic.Cancel(consumer_tag=tag, nowait=True)) if tag else b""

    @property
    def tag(self) -> str:
        """The tag of the consumer; of the newest one while one is replaced. Empty: there is
        none."""
        return self._tag

    def changed(self, tag: str) -> None:
        """The broker has started or cancelled the consumer with this tag."""
        response = self._responses.get(tag)
        if response is not None and not response.done():
            response.set_result(None)

    def ended(self, reason: str) -> None:
        """The channel has ended: no response comes any more."""
        self._end_reason = self._end_reason or reason
        for response in self._responses.values():
            if not response.done():
                response.set_exception(LinkError(reason))

    async def _cancel(self, tag: str) -> None:
        if not tag:
            return
        await self._call(tag, self._frame(Basic.Cancel(consumer_tag=tag)))
        self._channel.consumers.pop(tag, None)
        if tag == self._tag:
            self._tag = ""

    async def _call(self, tag: str, frames: bytes) -> None:
        """Write a method of the consumer ``tag`` and wait for its response."""
        if self._end_reason:
            raise LinkError(self._end_reason)
        response = self._responses[tag] = asyncio.get_running_loop().create_future()
        self._write(frames)
        try:
            await call_uninterrupted(response)
        finally:
            del self._responses[tag]

    def _frame(self, method: Frame) -> bytes:
        return marshal(method, self._channel.number)

    def _new_tag(self) -> str:
        """A new tag: RabbitMQ closes the connection when a channel uses a tag twice (530)."""
        number = next(self._numbers)
        wanted = self._settings.consumer_tag
        if not wanted:
            return f"hutch-gateway.{uuid4().hex}"
        return wanted if number == 1 else f"{wanted}.{number}"


async def _never_called(message: object) -> None:
    """aiormq knows a consumer by its callback, and confirms when the broker cancels it. Deliveries
    of tapped channels do not reach it."""
