"""One HTTP/1.1 connection of the generator: it sends a request and reads its response."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

KEPT = 16 * 1024
"""Bytes of a response in which numbers are searched; the rest is read and dropped."""

IDLE = -1


class Sender(Protocol):
    """What sends requests on connections. ``ticket``: its index of the request."""

    collects: bool

    def responded(self, connection: Connection, ticket: int, status: int, body: bytes) -> None:
        """Called with each complete response; ``body`` is empty unless ``collects``."""

    def ended(self, connection: Connection, ticket: int) -> None:
        """Called when the connection has ended. ``ticket``: of the request without a response, or
        IDLE."""


class Connection(asyncio.Protocol):
    """``ticket``: of the request that waits for a response, or IDLE."""

    __slots__ = ("_chunks", "_kept", "_parser", "_sender", "ticket", "transport")

    def __init__(self, sender: Sender) -> None:
        self.ticket = IDLE
        self.transport: asyncio.Transport | None = None
        self._sender = sender
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._kept = 0

    def send(self, ticket: int, request: bytes) -> None:
        self.ticket = ticket
        assert self.transport is not None
        self.transport.write(request)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            assert self.transport is not None
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        ticket, self.ticket = self.ticket, IDLE
        self._sender.ended(self, ticket)

    # httptools

    def on_body(self, chunk: bytes) -> None:
        if self._kept < KEPT and self._sender.collects:
            self._chunks.append(chunk)
            self._kept += len(chunk)

    def on_message_complete(self) -> None:
        ticket, self.ticket = self.ticket, IDLE
        if ticket == IDLE:  # a response without a request
            return
        body = b""
        if self._chunks:
            body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks, self._kept = [], 0
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            assert self.transport is not None
            self.transport.close()
        self._sender.responded(self, ticket, status, body)

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()
