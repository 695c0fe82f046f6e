"""The queue that a producer names: created when it does not exist, and bound to the exchange.

Publishing needs the exchange only. So a refused declaration of the queue is a warning, not an
error.
"""

from __future__ import annotations

import asyncio

from anyio import sleep

from ...telemetry.logs import get_logger
from ..connection.link import (
    BrokerConnection,
    ConnectionGoneError,
    LinkError,
    NotFoundError,
    call,
)
from ..connection.managed_channel import REPEATED_DECLARATION_TIMEOUT
from ..connection.topology import bind_queue, create_queue, look_up_queue
from ..settings import ProducerSettings

log = get_logger("gateway.amqp")

QUEUE_REDECLARE_INTERVAL = 30.0
"""Seconds until a queue that the broker has refused is declared again."""


class ProducerQueue:
    """``problem``: why the queue is not declared and bound as the settings say, else empty."""

    def __init__(self, settings: ProducerSettings) -> None:
        self.problem = "not declared yet"
        self._settings = settings
        self._is_suspect = False

    def readiness(self) -> dict[str, str]:
        return {"queue": self._settings.name, "problem": self.problem}

    async def keep_declared(self, connection: BrokerConnection, is_usable: asyncio.Event) -> None:
        """Declare the queue, and again while it is refused: a missing queue or permission may exist
        later.

        ``is_usable`` is set when messages may be published: the queue is declared or refused, or it
        exists and its binding does too, but the broker does not respond to it in time.
        """
        await self._declare(connection, is_usable)
        is_usable.set()
        while self.problem:
            await sleep(QUEUE_REDECLARE_INTERVAL)
            await self._declare(connection, is_usable)

    @property
    def _survives(self) -> bool:
        """Whether its binding exists as long as the queue exists."""
        settings = self._settings
        return not self.problem and settings.durable and not settings.delete

    async def _declare(self, connection: BrokerConnection, is_usable: asyncio.Event) -> None:
        """Declare and bind the queue. A refusal is kept in ``problem`` and logged, not raised.

        RabbitMQ ends the whole connection for some declarations, such as an unknown type of queue.
        So after a failed attempt a separate connection is used.
        """
        try:
            if self._is_suspect:
                async with connection.open_another() as own:
                    await self._declare_on(own, is_usable)
            else:
                self._is_suspect = True
                await self._declare_on(connection, is_usable)
        except ConnectionGoneError:
            return
        except LinkError as error:
            if not connection.tap.lost.is_set():
                self._refused(str(error))
            return
        self._is_suspect = False
        self.problem = ""

    def _refused(self, problem: str) -> None:
        if problem != self.problem:
            name, key = self._settings.name, self._settings.routing_key
            log.warning("queue %r (routing key %r) of a producer: %s", name, key, problem)
        self.problem = problem

    async def _declare_on(self, connection: BrokerConnection, is_usable: asyncio.Event) -> None:
        """The broker closes the channel for a missing queue and for each refused method."""
        settings = self._settings
        is_bound = settings.exchange and settings.declare == "create"
        try:
            async with connection.channel() as channel:
                await call(channel.rpc(look_up_queue(settings)))
                if self._survives:
                    loop = asyncio.get_running_loop()
                    loop.call_later(REPEATED_DECLARATION_TIMEOUT, is_usable.set)
                if is_bound:
                    await call(channel.rpc(bind_queue(settings)))
        except NotFoundError:
            if settings.declare == "passive":
                raise
        else:
            return
        async with connection.channel() as channel:
            await call(channel.rpc(create_queue(settings)))
            log.info("queue %r: created", settings.name)
            if is_bound:
                await call(channel.rpc(bind_queue(settings)))
