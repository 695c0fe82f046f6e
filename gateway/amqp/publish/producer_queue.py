"""The queue that a producer names: looked up, created when it is missing, bound to the exchange.

Publishing needs the exchange only, so whatever the broker refuses of the queue is a warning.
"""

from __future__ import annotations

from ...telemetry.logs import get_logger
from ..connection.link import (
    BrokerConnection,
    ConnectionGoneError,
    LinkError,
    NotFoundError,
    call,
    open_connection,
)
from ..connection.topology import bind_queue, create_queue, look_up_queue
from ..settings import ProducerSettings

log = get_logger("gateway.amqp")


class ProducerQueue:
    """``problem``: why the queue is not as the settings say, else empty."""

    def __init__(self, settings: ProducerSettings) -> None:
        self.problem = "not declared yet"
        self._settings = settings
        self._is_suspect = False

    def readiness(self) -> dict[str, str]:
        return {"queue": self._settings.name, "problem": self.problem}

    async def declare(self, connection: BrokerConnection) -> None:
        """Never raises what the broker refuses.

        Some refusals end a connection (a kind of queue that the broker does not know): after a
        declaration that did not succeed, a connection of its own is used.
        """
        try:
            if self._is_suspect:
                async with open_connection(connection.url) as own:
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
        """A queue that is missing closes the channel, and so does whatever is refused."""
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
