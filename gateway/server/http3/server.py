"""The server for HTTP/3: its connections, their datagrams and timers, and the stop.

It is not built on hypercorn's QUIC server. There one body that is not read stops all connections;
a reset or a client that has gone is not reported; nothing is limited; and there is one certificate
that is never read again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TypeVarTuple

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from anyio import TASK_STATUS_IGNORED, CancelScope, Event, current_time, sleep
from anyio.abc import TaskGroup, TaskStatus

from ...core.asgi import ASGIApp, Receive, Scope, Send, send_answer, text
from ...core.tasks import open_tasks
from ...telemetry.logs import get_logger
from ..settings import Limits, ServeSettings
from ..unsent import Unsent
from .certificates import CONNECTION_ID_BYTES, load_certificate
from .connection import Http3Connection
from .cycle import Http3Cycle
from .datagrams import Datagrams, Path

log = get_logger("gateway.server")

Ts = TypeVarTuple("Ts")

MAX_UNVERIFIED_HANDSHAKES = 32
"""Handshakes at once of clients that have not proved their address (RFC 9000, 8.1.2)."""


async def serve_http3(
    app: ASGIApp,
    settings: ServeSettings,
    sockets: Sequence[Datagrams],
    stop: Event,
    unsent: Unsent,
    *,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``stop`` is set, then let running requests end within the grace period."""
    assert settings.tls is not None
    limits = settings.limits
    try:
        choose = settings.tls.choice(lambda pair: load_certificate(pair, limits.idle_time))
        async with open_tasks() as background:
            try:
                async with open_tasks() as requests:
                    server = Http3Server(app, limits, choose, requests, unsent)
                    for datagrams in sockets:
                        background.start_soon(server.listen, datagrams)
                    background.start_soon(server.run_timers)
                    background.start_soon(server.check_connections)
                    task_status.started()
                    await stop.wait()
                    server.stop()
                    requests.cancel_scope.deadline = current_time() + settings.grace
            finally:
                server.close()
                background.cancel_scope.cancel()
    finally:
        for datagrams in sockets:
            datagrams.close()


class Http3Server:
    """All connections, by the connection IDs of their datagrams."""

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        choose: Callable[[str], QuicConfiguration],
        requests: TaskGroup,
        unsent: Unsent,
    ) -> None:
        self.limits = limits
        self.unsent = unsent
        self.choose = choose
        self.is_stopping = False
        self._app = app
        self._requests = requests
        self._tokens = QuicRetryTokenHandler()
        self._connections: set[Http3Connection] = set()
        self._opening: set[Http3Connection] = set()
        self._by_id: dict[bytes, Http3Connection] = {}
        self._timers: list[tuple[float, int, Http3Connection]] = []
        self._numbers = count()
        self._timer_changed = Event()
        self._next_check = inf

    # Called by connections.

    def add_id(self, connection: Http3Connection, identity: bytes) -> None:
        connection.ids.add(identity)
        self._by_id[identity] = connection

    def remove_id(self, identity: bytes) -> None:
        self._by_id.pop(identity).ids.discard(identity)

    def has_opened(self, connection: Http3Connection) -> None:
        self._opening.discard(connection)

    def start(self, cycle: Http3Cycle, scope: Scope | int) -> None:
        if isinstance(scope, int):
            self._requests.start_soon(cycle.run, _refusal(scope), {})
        else:
            scope["extensions"] = {"gateway.connection": cycle}
            self._requests.start_soon(cycle.run, self._app, scope)

    def flush(self, connection: Http3Connection) -> None:
        if connection in self._connections:
            self._guarded(connection, self._send)

    def _send(self, connection: Http3Connection) -> None:
        quic = connection.quic
        for data, path in quic.datagrams_to_send(current_time()):
            connection.datagrams.send(data, path)
        if quic.is_over:
            self._drop(connection)
        else:
            self._schedule(connection)

    def _schedule(self, connection: Http3Connection) -> None:
        """Start a timer, unless it is due after the next check of all connections."""
        timer = connection.quic.get_timer()
        if timer is not None and timer < min(connection.wakes_at, self._next_check):
            connection.wakes_at = timer
            heappush(self._timers, (timer, next(self._numbers), connection))
            if self._timers[0][2] is connection:
                self._timer_changed.set()

    def _guarded(
        self, connection: Http3Connection, step: Callable[[Http3Connection, *Ts], None], *args: *Ts
    ) -> None:
        """An unforeseen error ends this connection alone."""
        try:
            step(connection, *args)
        except Exception as error:
            log.error("HTTP/3: an internal error ends a connection", exc_info=error)
            self._drop(connection)

    def _drop(self, connection: Http3Connection) -> None:
        """Forget the connection. Its requests end as if the client had gone."""
        self._connections.discard(connection)
        self._opening.discard(connection)
        for identity in connection.ids:
            self._by_id.pop(identity, None)
        for cycle in tuple(connection.cycles.values()):
            cycle.lost()

    # Datagrams.

    async def listen(self, datagrams: Datagrams) -> None:
        while True:
            await datagrams.readable()
            active: set[Http3Connection] = set()
            for data, path in datagrams.received():
                connection = self._connection_of(data, path, datagrams)
                if connection is not None:
                    self._guarded(connection, self._receive, data, path)
                    active.add(connection)
            for connection in active:
                self.flush(connection)

    def _receive(self, connection: Http3Connection, data: bytes, path: Path) -> None:
        connection.quic.receive_datagram(data, path, current_time())
        connection.take_events()

    def _connection_of(
        self, data: bytes, path: Path, datagrams: Datagrams
    ) -> Http3Connection | None:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CONNECTION_ID_BYTES)
        except ValueError:
            return None
        # Packets after the handshake have no version.
        is_of_version = header.packet_type is not QuicPacketType.VERSION_NEGOTIATION
        if header.version is not None and is_of_version:
            versions = self.choose("").supported_versions
            if header.version not in versions:
                if len(data) >= SMALLEST_MAX_DATAGRAM_SIZE:
                    offered = encode_quic_version_negotiation(
                        source_cid=header.destination_cid,
                        destination_cid=header.source_cid,
                        supported_versions=versions,
                    )
                    datagrams.send(offered, path)
                return None
        connection = self._by_id.get(header.destination_cid)
        is_first = header.packet_type is QuicPacketType.INITIAL
        if connection is None and is_first and len(data) >= SMALLEST_MAX_DATAGRAM_SIZE:
            connection = self._admit(header, path, datagrams)
        return connection

    def _admit(
        self, header: QuicHeader, path: Path, datagrams: Datagrams
    ) -> Http3Connection | None:
        """A new connection; None: it is not admitted. The client gets no response and uses TCP."""
        if self.is_stopping or len(self._connections) >= self.limits.connections:
            return None
        original_id, retry_id = header.destination_cid, None
        if header.token:
            try:
                original_id = self._tokens.validate_token(
                    address=path,
                    destination_cid=header.destination_cid,
                    token=header.token,
                    now=current_time(),
                )
            except ValueError:
                return None
            retry_id = header.destination_cid
        elif len(self._opening) >= MAX_UNVERIFIED_HANDSHAKES:
            datagrams.send(self._retry(header, path), path)
            return None
        connection = Http3Connection(self, datagrams, original_id, retry_id)
        self._connections.add(connection)
        self._opening.add(connection)
        self.add_id(connection, header.destination_cid)
        self.add_id(connection, connection.quic.host_cid)
        return connection

    def _retry(self, header: QuicHeader, path: Path) -> bytes:
        source_id = os.urandom(CONNECTION_ID_BYTES)
        assert header.version is not None
        return encode_quic_retry(
            version=header.version,
            source_cid=source_id,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=self._tokens.create_token(
                address=path,
                original_destination_connection_id=header.destination_cid,
                retry_source_connection_id=source_id,
                now=current_time(),
            ),
        )

    # Time.

    async def run_timers(self) -> None:
        """Run the timers of all connections. Never returns."""
        while True:
            self._timer_changed = Event()
            with CancelScope(deadline=self._timers[0][0] if self._timers else inf):
                await self._timer_changed.wait()
            now = current_time()
            due: list[Http3Connection] = []  # collected first: a timer may be due again at once
            while self._timers and self._timers[0][0] <= now:
                when, _, connection = heappop(self._timers)
                if when == connection.wakes_at and connection in self._connections:
                    connection.wakes_at = inf
                    due.append(connection)
            for connection in due:
                self._guarded(connection, self._expire)
                self.flush(connection)

    def _expire(self, connection: Http3Connection) -> None:
        connection.quic.handle_timer(current_time())
        connection.take_events()

    async def check_connections(self) -> None:
        """Check all connections again and again. Never returns.

        A client with requests gets a PING, so that a dead one is noticed. A connection that is
        idle, or in its handshake, for too long is closed.
        """
        limits = self.limits
        pause = min(limits.idle_time, limits.header_time) / 3
        while True:
            now = current_time()
            self._next_check = now + pause
            for connection in tuple(self._connections):
                is_opening = connection in self._opening
                timeout = limits.header_time if is_opening else limits.idle_time
                if connection.cycles:
                    connection.quic.send_ping(0)
                    self.flush(connection)
                elif now - connection.idle_since > timeout:
                    connection.close()
                else:
                    self._guarded(connection, self._schedule)
            await sleep(pause)

    # The end.

    def stop(self) -> None:
        self.is_stopping = True
        for connection in tuple(self._connections):
            connection.say_goaway()

    def close(self) -> None:
        for connection in tuple(self._connections):
            connection.close()


def _refusal(status: int) -> ASGIApp:
    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send_answer(send, text(status, ""))

    return refuse
