"""What lives on a link with a channel of its own: declares, works, and is tried again."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from asyncio import Event
from typing import Any

from aiormq.channel import Channel
from anyio import current_time
from pamqp.base import Frame

from ..logs import get_logger
from .link import STABLE, Connection, Link, LinkError, call, open_connection
from .urls import BrokerUrl

log = get_logger("gateway.amqp")


class ChannelTenant(ABC):
    """Base of subscriptions and publishers; all of it runs on the asyncio side.

    ``name``: for people. ``is_attached``: declared and at work, or would be at the first request.
    ``problem``: why not, else empty.
    """

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self.is_attached = False
        self.problem = "not connected yet"
        self.declares = False
        self._link = link
        self._topology: dict[tuple[str, bytes], Frame] = {}
        self._asked = Event()
        self._is_suspect = False
        self._attached_at: float | None = None
        self._refusals = link.pauses()

    @property
    @abstractmethod
    def is_awaited(self) -> bool:
        """A request is waiting for it."""

    @abstractmethod
    async def work(self, channel: Channel, connection: Connection) -> None:
        """Be at work, on a channel where everything is declared, until cancelled.

        Returning means: rest until somebody asks. Raises :class:`LinkError`.
        """

    @abstractmethod
    def readiness(self) -> dict[str, Any]: ...

    async def prepare(self, connection: Connection) -> None:  # noqa: B027
        """What has to be done on other channels before this one opens: by default nothing."""

    async def live(self, connection: Connection) -> None:
        """Work until the connection is over; what the broker refuses is tried again."""
        while True:
            self._attached_at = None
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
                await self._pause()
            else:
                self.problem = "idle: the first request attaches it again"
                await self._asked.wait()

    def attached(self) -> None:
        self.is_attached = True
        self._asked = Event()  # whoever finds it detached from now on is remembered
        self._attached_at = current_time()
        if self.problem:
            log.info("%s: ready", self.name)
        self.problem = ""

    def detached(self, problem: str) -> None:
        """There is no channel: why."""
        self.is_attached = False
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
        self._asked.set()
        self._link.hurry()

    async def _pause(self) -> None:
        if self._attached_at is not None and current_time() - self._attached_at >= STABLE:
            self._refusals = self._link.pauses()
        else:
            await self._link.pause(next(self._refusals))

    async def _try_declaring_alone(self, url: BrokerUrl) -> None:
        """Some refusals end a connection (an unknown exchange type: 503): let it be no other's."""
        async with open_connection(url) as connection:
            async with connection.channel() as channel:
                await self._declare(channel)
        self._is_suspect = False

    async def _declare(self, channel: Channel) -> None:
        self.declares = True
        for method in self._topology.values():
            await call(channel.rpc(method))
        self.declares = False
