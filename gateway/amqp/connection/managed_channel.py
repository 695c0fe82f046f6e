"""The base class of subscriptions and publishers. Each has its own channel on a link: it declares,
works, and starts again after a failure.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable

from aiormq.channel import Channel
from anyio import current_time, move_on_after
from pamqp.base import Frame

from ...telemetry.logs import get_logger
from ...telemetry.metrics import Reading
from .concerned import Concerned
from .link import RECONNECT_RESET_AFTER, BrokerConnection, Link, LinkError, call

log = get_logger("gateway.amqp")

REPEATED_DECLARATION_TIMEOUT = 0.3
"""Seconds to wait for declarations of a durable topology that were accepted before. While a node of
a cluster hangs, all others respond to no binding: for up to 75 s (``net_ticktime``)."""


def declaration_key(method: Frame) -> Hashable:
    """A key that is equal for methods that declare the same."""
    return method.name, method.marshal()


class ManagedChannel(ABC):
    """Base class of subscriptions and publishers. All of it runs on the asyncio side.

    ``name``: for the log. ``is_durable``: its topology survives a restart of the broker.
    ``is_ready``: its topology is declared and its channel is open.
    ``problem``: why it is not ready, else empty. ``refused``: optional declarations that the broker
    has refused on this connection, with the broker's texts.
    """

    def __init__(self, name: str, link: Link, *, is_durable: bool) -> None:
        self.name = name
        self.is_ready = False
        self.problem = "not connected yet"
        self.declares = False
        self.refused: dict[Hashable, str] = {}
        self._link = link
        self._concerned = Concerned()
        self._topology: dict[Hashable, Frame] = {}
        self._is_durable = is_durable
        self._was_declared = False
        self._is_suspect = False
        self._ready_at: float | None = None
        self._pauses = link.pauses()

    def __str__(self) -> str:
        """For lines of the log: ``queue 'q' of GET /orders``."""
        return f"{self.name}{self._concerned.after('of')}"

    def concerns(self, name: str) -> None:
        """An endpoint or an agent of that name uses it, and its link."""
        self._concerned.add(name)
        self._link.concerned.add(name)

    @property
    def why_away(self) -> str:
        """The ``error_type`` of a failure while it is not ready."""
        return "not_declared" if self._link.is_connected else "broker_away"

    @property
    @abstractmethod
    def is_awaited(self) -> bool:
        """A request is waiting for it."""

    @abstractmethod
    async def work(self, channel: Channel, connection: BrokerConnection) -> None:
        """Work until cancelled, on a channel after everything was declared on it.

        It must call :meth:`became_ready`. Raises :class:`LinkError` when the channel ends.
        """

    @abstractmethod
    def readiness(self) -> dict[str, object]: ...

    @abstractmethod
    def readings(self, broker: str) -> Iterable[Reading]: ...

    async def prepare(self, connection: BrokerConnection) -> None:  # noqa: B027
        """Work to do on other channels before this one opens. By default nothing."""

    def can_do_without(self, declaration: Hashable) -> bool:
        """Whether this declaration is optional. By default none is."""
        return False

    def declare(self, method: Frame) -> Hashable:
        """Add a method that is called whenever the channel opens. Returns its key."""
        key = declaration_key(method)
        self._topology.setdefault(key, method)
        return key

    async def live(self, connection: BrokerConnection) -> None:
        """Open a channel, declare and work, until the connection ends. After a refusal or an error
        of the channel it starts again, with a pause."""
        self.refused.clear()
        while True:
            self._ready_at = None
            try:
                if self._is_suspect:
                    await self._try_declaring_alone(connection)
                await self.prepare(connection)
                async with connection.channel() as channel:
                    if await self._declare_in_time(channel):
                        await self.work(channel, connection)
                    else:
                        log.warning("%s: the broker does not respond to declarations", self)
                        async with connection.channel() as another:
                            await self.work(another, connection)
            except LinkError as error:
                if connection.tap.lost.is_set():
                    return
                self.detached(str(error))
            except Exception as error:  # of any type: the other channels must go on
                log.exception("%s: unexpected error, the channel opens again", self)
                self.detached(f"unexpected error: {type(error).__name__}")
            await self._pause()

    def became_ready(self) -> None:
        self.is_ready = True
        self._ready_at = current_time()
        if self.problem:
            log.info("%s: ready", self)
        self.problem = ""

    def detached(self, problem: str) -> None:
        """There is no channel. ``problem``: why."""
        self.is_ready = False
        if problem != self.problem:
            level = logging.WARNING if self._link.is_connected else logging.DEBUG
            log.log(level, "%s: %s", self, problem)
        self.problem = problem

    def suspect(self, link: Link, problem: str) -> None:
        """The connection ended while this channel was declaring: a declaration of it may be the
        cause. So the next attempt declares on a separate connection first."""
        self._is_suspect = True
        self.declares = False
        self.detached(problem)

    def wake_up(self) -> None:
        """A request begins to wait: shorten the pause before the next attempt."""
        self._link.retry_soon()

    async def _pause(self) -> None:
        if self._ready_at is not None and current_time() - self._ready_at >= RECONNECT_RESET_AFTER:
            self._pauses = self._link.pauses()
        else:
            await self._link.pause(next(self._pauses))

    async def _try_declaring_alone(self, other: BrokerConnection) -> None:
        """Declare on a separate connection: RabbitMQ ends the whole connection for some
        declarations (503 for an unknown type of exchange), and other channels must not be affected.
        """
        async with other.open_another() as connection:
            async with connection.channel() as channel:
                await self._declare(channel)
        self._is_suspect = False

    async def _declare_in_time(self, channel: Channel) -> bool:
        """Declare. False when the broker does not respond in time and the topology must exist. Then
        this channel cannot be used."""
        exists = self._was_declared and self._is_durable
        with move_on_after(REPEATED_DECLARATION_TIMEOUT if exists else None):
            await self._declare(channel)
            return True
        self.declares = False
        return False

    async def _declare(self, channel: Channel) -> None:
        self.declares = True
        for key, method in self._topology.items():
            if key in self.refused:
                continue
            try:
                await call(channel.rpc(method))
            except LinkError as error:
                if self.can_do_without(key):
                    self.refused[key] = str(error)
                raise
        self.declares = False
        self._was_declared = True
