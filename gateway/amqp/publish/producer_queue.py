"""The queue that a producer names: created when it does not exist, and bound to the exchange.

Publishing needs the exchange only. So a refused declaration of the queue is a warning, not an
error.
"""

from __future__ import annotations

from ...telemetry.logs import get_logger
from ..connection.link import (
    BrokerConnection,
    ConnectionGoneError,
    LinkError,
    NotFoundError,
    call,
)
from ..connection.topology import bind_queue, create_queue, look_up_queue
from ..settings import ProducerSettings

log = get_logger("gateway.amqp")


class ProducerQueue:
    """``problem``: why the queue is not declared and bound as the settings say, else empty."""

    def __init__(self, settings: ProducerSettings) -> None:
        self.problem = "not declared yet"
        self._settings = settings
        self._is_suspect = False

    def readiness(self) -> dict[str, str]:
        return {"queue": self._settings.name, "problem": self.problem}

    async def declare(self, connection: BrokerConnection) -> None:
        """Declare and bind the queue. A refusal is kept in ``problem`` and logged, not raised.

        RabbitMQ ends the whole connection for some declarations, such as an unknown type of queue.
        So after a failed attempt a separate connection is used.
        """
        try:
            if self._is_suspect:
                async with connection.open_another() as own:
                    await self._declare_on(own)
            else:
                self._is_suspect = True
                await self._declare_on(connection)
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

    async def _declare_on(self, connection: BrokerConnection) -> None:
        """The broker closes the channel for a missing queue and for each refused method."""
        settings = self._settings
        is_bound = settings.exchange and settings.declare == "create"
        methods = [look_up_queue(settings), *([bind_queue(settings)] if is_bound else [])]
        try:
            async with connection.channel() as channel:
                for method in methods:
                    await call(channel.rpc(method))
        except NotFoundError:
            if settings.declare == "passive":
                raise
        else:
            return
        async with connection.channel() as channel:
            await call(channel.rpc(create_queue(settings)))
            log.info("queue %r: created", settings.name)
            for method in methods[1:]:
                await call(channel.rpc(method))
