"""One HTTP/1.1 connection of the generator: a request out, its answer in, nothing else."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

KEPT = 16 * 1024
"""Bytes of an answer that are kept to look for numbers in; the rest is read and dropped."""

IDLE = -1


class Asker(Protocol):
    """Who sends requests. ``ticket``: the number that it gave the request."""

    collects: bool

    def answered(self, connection: Connection, ticket: int, status: int, body: bytes) -> None:
        """The whole answer is here; ``body`` is empty unless ``collects``."""

    def ended(self, connection: Connection, ticket: int) -> None:
        """The connection is over; ``ticket``: the request that has no answer, or IDLE."""


class Connection(asyncio.Protocol):
    """``ticket``: of the request that waits for its answer."""

    __slots__ = ("_asker", "_chunks", "_kept", "_parser", "ticket", "transport")

    def __init__(self, asker: Asker) -> None:
        self.ticket = IDLE
        self.transport: asyncio.Transport | None = None
        self._asker = asker
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
        self._asker.ended(self, ticket)

    # httptools

    def on_body(self, chunk: bytes) -> None:
        if self._kept < KEPT and self._asker.collects:
            self._chunks.append(chunk)
            self._kept += len(chunk)

    def on_message_complete(self) -> None:
        ticket, self.ticket = self.ticket, IDLE
        if ticket == IDLE:  # an answer that nobody asked for
            return
        body = b""
        if self._chunks:
            body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks, self._kept = [], 0
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            assert self.transport is not None
            self.transport.close()
        self._asker.answered(self, ticket, status, body)

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()
