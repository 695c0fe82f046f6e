"""What lives on a link with a channel of its own: declares, works, and is tried again."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

from aiormq.channel import Channel
from anyio import current_time
from pamqp.base import Frame

from ...telemetry.logs import get_logger
from .link import RECONNECT_RESET_AFTER, BrokerConnection, Link, LinkError, call, open_connection
from .urls import BrokerUrl

log = get_logger("gateway.amqp")


def declaration_key(method: Frame) -> Hashable:
    """Equal for methods that declare the same."""
    return method.name, method.marshal()


class ManagedChannel(ABC):
    """Base of subscriptions and publishers; all of it runs on the asyncio side.

    ``name``: for people. ``is_ready``: its topology is declared and its channel is open.
    ``problem``: why not, else empty. ``refused``: declarations that the broker has refused on this
    connection and that this channel can do without, and the broker's texts.
    """

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self.is_ready = False
        self.problem = "not connected yet"
        self.declares = False
        self.refused: dict[Hashable, str] = {}
        self._link = link
        self._topology: dict[Hashable, Frame] = {}
        self._is_suspect = False
        self._ready_at: float | None = None
        self._pauses = link.pauses()

    @property
    @abstractmethod
    def is_awaited(self) -> bool:
        """A request is waiting for it."""

    @abstractmethod
    async def work(self, channel: Channel, connection: BrokerConnection) -> None:
        """Be at work, on a channel where everything is declared, until cancelled.

        Calls :meth:`became_ready`. Raises :class:`LinkError` when the channel ends.
        """

    @abstractmethod
    def readiness(self) -> dict[str, Any]: ...

    async def prepare(self, connection: BrokerConnection) -> None:  # noqa: B027
        """What has to be done on other channels before this one opens: by default nothing."""

    def can_do_without(self, declaration: Hashable) -> bool:
        """Whether work can go on when the broker refuses this one; by default not."""
        return False

    def declare(self, method: Frame) -> Hashable:
        """Have ``method`` called whenever the channel opens; the key of this declaration."""
        key = declaration_key(method)
        self._topology.setdefault(key, method)
        return key

    async def live(self, connection: BrokerConnection) -> None:
        """Work until the connection is over; what the broker refuses is tried again."""
        self.refused.clear()
        while True:
            self._ready_at = None
            try:
                if self._is_suspect:
                    await self._try_declaring_alone(connection.url)
                await self.prepare(connection)
                async with connection.channel() as channel:
                    await self._declare(channel)
                    await self.work(channel, connection)
            except LinkError as error:
                if connection.tap.lost.is_set():
                    return
                self.detached(str(error))
            except Exception as error:  # whatever it is, the other channels go on
                log.exception("%s: unexpected error, tried again", self.name)
                self.detached(f"unexpected error: {type(error).__name__}")
            await self._pause()

    def became_ready(self) -> None:
        self.is_ready = True
        self._ready_at = current_time()
        if self.problem:
            log.info("%s: ready", self.name)
        self.problem = ""

    def detached(self, problem: str) -> None:
        """There is no channel: why."""
        self.is_ready = False
        if problem != self.problem:
            level = logging.WARNING if self._link.is_connected else logging.DEBUG
            log.log(level, "%s: %s", self.name, problem)
        self.problem = problem

    def suspect(self, link: Link, problem: str) -> None:
        """The connection ended while this was declaring: next time on one of its own first."""
        self._is_suspect = True
        self.declares = False
        self.detached(problem)

    def wake_up(self) -> None:
        """A request has begun to wait."""
        self._link.retry_soon()

    async def _pause(self) -> None:
        if self._ready_at is not None and current_time() - self._ready_at >= RECONNECT_RESET_AFTER:
            self._pauses = self._link.pauses()
        else:
            await self._link.pause(next(self._pauses))

    async def _try_declaring_alone(self, url: BrokerUrl) -> None:
        """Some refusals end a connection (an unknown exchange type: 503): let it be no other's."""
        async with open_connection(url) as connection:
            async with connection.channel() as channel:
                await self._declare(channel)
        self._is_suspect = False

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
