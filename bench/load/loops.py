"""Open loop, closed loop and other loads, on the connections of one process.

During a request only its moments are recorded; figures are computed after the load
(``outcome.py``).
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ..messages import NUMBER
from .connection import IDLE, KEPT, Connection
from .plan import Plan
from .schedule import mixed
from .ticker import Ticker

if TYPE_CHECKING:  # the generator does not import the gateway
    from gateway.amqp.wire.delivery_fast_path import RawDelivery

RECONNECT = 0.02
"""Seconds between two attempts to open a connection."""


class Load(ABC):
    """The connections, and what all loads have in common.

    ``over`` is set when no response is missing. ``cpu``: seconds of this process when the load
    began and at the end of each step. A ``ticket`` is the index of a request.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.collects = plan.collects
        self.over = asyncio.Event()
        self.found: list[bytes] = []
        self.responses = 0
        self.failures = 0
        self.cpu: list[float] = []
        self._open: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._reconnecting: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open every connection. Raises OSError."""
        for _ in range(self.plan.connections):
            self._open.add(await self._new_connection())

    def close(self) -> None:
        for task in self._reconnecting:
            task.cancel()
        for connection in self._open:
            if connection.transport is not None:
                connection.transport.abort()
        self._read_cpu()  # of a step whose last response came before its end

    def _watch_cpu(self, ends: Iterable[float]) -> None:
        """Read the CPU now and at the end of each step, ``ends`` seconds from now."""
        self._read_cpu()
        for end in ends:
            self._loop.call_later(end, self._read_cpu)

    def _read_cpu(self) -> None:
        self.cpu.append(time.process_time())

    async def _new_connection(self) -> Connection:
        _, connection = await self._loop.create_connection(
            lambda: Connection(self), self.plan.host, self.plan.port
        )
        return connection

    def ended(self, connection: Connection, ticket: int) -> None:
        self._open.discard(connection)
        if ticket != IDLE:
            self.failures += 1
            self.no_response(ticket)
        if not self.over.is_set():
            task = self._loop.create_task(self._reconnect())
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)

    async def _reconnect(self) -> None:
        while True:
            try:
                connection = await self._new_connection()
            except OSError:
                await asyncio.sleep(RECONNECT)
            else:
                self._open.add(connection)
                self.idle(connection)
                return

    def responded(self, connection: Connection, ticket: int, status: int, body: bytes) -> None:
        now = time.monotonic()
        self.responses += 1
        if 200 <= status < 300:
            if body:
                self.found += NUMBER.findall(body, 0, KEPT)
        else:
            self.failures += 1
        self.note(ticket, status, now)
        if connection.is_open:
            self.idle(connection)

    @abstractmethod
    def begin(self) -> None:
        """Called when every connection is open."""

    @abstractmethod
    def idle(self, connection: Connection) -> None:
        """Called when the connection has no request."""

    @abstractmethod
    def note(self, ticket: int, status: int, now: float) -> None:
        """Called with each response."""

    @abstractmethod
    def no_response(self, ticket: int) -> None:
        """Called when a connection has ended before its response."""


class Timetable(Load):
    """Something starts at each of ``times`` (seconds after ``began``), whatever the server does.

    ``fired``, ``done``: moments of start and response (time.monotonic), 0.0 for never.
    ``statuses``: 0 for no response.
    """

    def __init__(self, plan: Plan, times: Sequence[float]) -> None:
        super().__init__(plan)
        number = len(times)
        self.began = 0.0
        self.fired = array("d", bytes(8 * number))
        self.done = array("d", bytes(8 * number))
        self.statuses = array("h", bytes(2 * number))
        self._times = array("d", times)
        self._next = 0
        self._missing = number
        self._ticker = Ticker(self._loop, self._fire)

    def begin(self) -> None:
        self.began = time.monotonic()
        self._watch_cpu(accumulate(step.seconds for step in self.plan.steps))
        if self._times:
            self._ticker.set(self.began + self._times[0])
        else:
            self.over.set()

    def close(self) -> None:
        super().close()
        self._ticker.close()

    def _fire(self) -> None:
        times, fired, began, monotonic = self._times, self.fired, self.began, time.monotonic
        following, number = self._next, len(times)
        while following < number and times[following] <= (now := monotonic()) - began:
            fired[following] = now
            self.start(following)
            following += 1
        self._next = following
        if following < number:
            self._ticker.set(began + times[following])
        else:
            self._loop.call_later(self.plan.patience, self.over.set)

    @abstractmethod
    def start(self, ticket: int) -> None:
        """Called when it is time for this request."""

    def note(self, ticket: int, status: int, now: float) -> None:
        self.done[ticket] = now
        self.statuses[ticket] = status
        self.one_less()

    def no_response(self, ticket: int) -> None:
        self.one_less()

    def one_less(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.over.set()


class OpenLoop(Timetable):
    """Requests start at their time, like those of independent clients."""

    def __init__(self, plan: Plan, times: Sequence[float]) -> None:
        super().__init__(plan, times)
        self.which = mixed(plan.requests, len(times), plan.seed)
        self._idle: list[Connection] = []
        self._backlog: deque[int] = deque()

    def begin(self) -> None:
        self._idle = list(self._open)
        super().begin()

    def start(self, ticket: int) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                self._send(connection, ticket)
                return
        self._backlog.append(ticket)

    def idle(self, connection: Connection) -> None:
        if self._backlog:
            self._send(connection, self._backlog.popleft())
        else:
            self._idle.append(connection)

    def _send(self, connection: Connection, ticket: int) -> None:
        request = self.plan.requests[self.which[ticket]]
        connection.send(ticket, request.as_bytes(self.plan.first_number + ticket))


class Published(Timetable):
    """At each of ``times`` a message is published. ``done``: when a client received it."""

    def __init__(
        self, plan: Plan, times: Sequence[float], publish: Callable[[int], object]
    ) -> None:
        super().__init__(plan, times)
        self._publish = publish

    def start(self, ticket: int) -> None:
        self._publish(self.plan.first_number + ticket)

    def received(self, body: bytes, status: int) -> None:
        """Called with each body that a client received; it may contain several messages."""
        now = time.monotonic()
        for number in NUMBER.findall(body, 0, KEPT):
            self.found.append(number)
            ticket = int(number) - self.plan.first_number
            if 0 <= ticket < len(self.done) and not self.done[ticket]:
                self.responses += 1
                self.note(ticket, status, now)


class Waiting(Published):
    """Every connection always has a request that waits; one of them gets the message."""

    def __init__(
        self, plan: Plan, times: Sequence[float], publish: Callable[[int], object]
    ) -> None:
        super().__init__(plan, times, publish)
        self._request = plan.requests[0].before_number

    def begin(self) -> None:
        for connection in tuple(self._open):
            connection.send(0, self._request)
        super().begin()

    def responded(self, connection: Connection, ticket: int, status: int, body: bytes) -> None:
        self.received(body, status)
        if connection.is_open:
            self.idle(connection)

    def no_response(self, ticket: int) -> None:
        """The message may come in another connection's response."""

    def idle(self, connection: Connection) -> None:
        if not self.over.is_set():
            connection.send(0, self._request)


class Delivered(Published):
    """There are no requests: the broker delivers messages to the gateway's own AMQP client."""

    def __init__(
        self,
        plan: Plan,
        times: Sequence[float],
        publish: Callable[[int], object],
        acknowledge: Callable[[int], None],
    ) -> None:
        super().__init__(plan, times, publish)
        self._acknowledge = acknowledge

    def delivered(self, messages: Sequence[RawDelivery]) -> None:
        for tag, *_, body in messages:
            self.received(body, 200)
            self._acknowledge(tag)

    def fetch_ended(self, found: bool) -> None:
        """This client does not use basic.get."""

    def closed(self, closing: object) -> None:
        """The run ends with its connection."""

    def idle(self, connection: Connection) -> None:
        """There are no connections."""


class Confirmed(Timetable):
    """At each of ``times`` a message is published. ``done``: when the broker confirmed it."""

    publish: Callable[[int], object]

    def start(self, ticket: int) -> None:
        self.publish(self.plan.first_number + ticket)

    def on_confirm(self, tickets: Sequence[int], is_ack: bool) -> None:
        """Called with the messages that the broker has confirmed or rejected."""
        now = time.monotonic()
        for ticket in tickets:
            self.responses += 1
            self.failures += not is_ack
            self.note(ticket, 200 if is_ack else 503, now)

    def idle(self, connection: Connection) -> None:
        """There are no connections."""


class ClosedLoop(Load):
    """Each connection sends its next request after the last response: the maximum throughput of a
    server. Its latencies are too low, because a stalled server receives no requests."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.latencies = array("d")
        self.moments = array("d")
        self.statuses: dict[int, int] = {}
        self.began = self.end = 0.0
        self.confirmed: list[int] = []
        self._sent_at: dict[int, tuple[float, bool]] = {}
        self._ticket = 0
        self._which = mixed(plan.requests, 1 << 16, plan.seed)

    def begin(self) -> None:
        self.began = time.monotonic()
        self._watch_cpu([self.plan.seconds])
        self.end = self.began + self.plan.seconds
        for connection in tuple(self._open):
            self.idle(connection)
        self._loop.call_later(self.plan.seconds + self.plan.patience, self.over.set)

    def idle(self, connection: Connection) -> None:
        now = time.monotonic()
        if now >= self.end:
            if not self._sent_at:
                self.over.set()
            return
        ticket = self._ticket
        self._ticket += 1
        request = self.plan.requests[self._which[ticket & 0xFFFF]]
        self._sent_at[ticket] = now, request.is_numbered
        connection.send(ticket, request.as_bytes(self.plan.first_number + ticket))

    def note(self, ticket: int, status: int, now: float) -> None:
        sent_at, is_numbered = self._sent_at.pop(ticket)
        self.latencies.append(now - sent_at)
        self.moments.append(now)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if is_numbered and 200 <= status < 300:
            self.confirmed.append(self.plan.first_number + ticket)

    def no_response(self, ticket: int) -> None:
        del self._sent_at[ticket]
        self.statuses[0] = self.statuses.get(0, 0) + 1

    @property
    def in_flight(self) -> int:
        return len(self._sent_at)
