"""A client of HTTP/3 on both async libraries, which can fall silent, close, and misbehave."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from anyio import CancelScope, Event, create_task_group, current_time, wait_readable

FAR_AWAY = 3600.0
LOOK = 0.02
"""Seconds after which it looks at its timers: what a test has sent may have set some."""


class Answer:
    """What has come on a stream."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.has_ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers[b":status"])


class Client:
    """``is_silent``: it sends nothing any more, as if it had lost its network.

    ``closes_at_once``: with this code, at the end of an answer, before it has acknowledged it.
    """

    def __init__(self, udp: socket.socket, quic: QuicConnection, server: tuple[str, int]) -> None:
        self.udp = udp
        self.quic = quic
        self.http3 = H3Connection(quic)
        self.is_silent = False
        self.closes_at_once: int | None = None
        self.answers: dict[int, Answer] = {}
        self.closed: int | None = None
        self.is_connected = False
        self._server = server
        self._changed = Event()

    def flush(self) -> None:
        for data, _ in self.quic.datagrams_to_send(current_time()):
            if not self.is_silent:
                with suppress(BlockingIOError):
                    self.udp.sendto(data, self._server)

    def get(self, *fields: tuple[bytes, bytes], path: bytes = b"/") -> int:
        return self.request(b"GET", path, *fields)

    def request(
        self,
        method: bytes,
        path: bytes,
        *fields: tuple[bytes, bytes],
        body: bytes | None = None,
        ends: bool = True,
    ) -> int:
        stream = self.quic.get_next_available_stream_id()
        pseudo = ((b":method", method), (b":scheme", b"https"), (b":authority", b"x"))
        headers = [*pseudo, (b":path", path), *fields]
        self.answers[stream] = Answer()
        self.http3.send_headers(stream, headers, end_stream=ends and body is None)
        if body is not None:
            self.http3.send_data(stream, body, end_stream=ends)
        self.flush()
        return stream

    async def answered(self, stream: int) -> Answer:
        answer = self.answers[stream]
        await self.until(lambda: answer.has_ended or answer.reset is not None)
        return answer

    async def until(self, condition: Any) -> None:
        while not condition():
            await self._changed.wait()

    def cancel(self, stream: int) -> None:
        """As browsers do it."""
        self.quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.flush()

    def close(self, code: int = ErrorCode.H3_NO_ERROR) -> None:
        self.quic.close(error_code=code)
        self.flush()

    @property
    def was_retried(self) -> bool:
        return self.quic._retry_count > 0

    async def run(self) -> None:
        self.flush()
        while self.closed is None:
            timer = self.quic.get_timer()
            soon = current_time() + LOOK
            with CancelScope(deadline=soon if timer is None else min(timer, soon)):
                await wait_readable(self.udp)
            with suppress(BlockingIOError):
                while True:
                    data, address = self.udp.recvfrom(2000)
                    self.quic.receive_datagram(data, address, current_time())
            if self.quic.get_timer() is not None:
                self.quic.handle_timer(current_time())
            while (event := self.quic.next_event()) is not None:
                self._take(event)
            self.flush()
            changed, self._changed = self._changed, Event()
            changed.set()

    def _take(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.ConnectionTerminated):
            self.closed = event.error_code
        elif isinstance(event, events.HandshakeCompleted):
            self.is_connected = True
        elif isinstance(event, events.StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].reset = event.error_code
        for each in self.http3.handle_event(event):
            if not isinstance(each, HeadersReceived | DataReceived):
                continue
            answer = self.answers[each.stream_id]
            if isinstance(each, HeadersReceived):
                answer.headers.update(each.headers)
            else:
                answer.body += each.data
            answer.has_ended = each.stream_ended
            if answer.has_ended and self.closes_at_once is not None:
                self.quic.close(error_code=self.closes_at_once)


@asynccontextmanager
async def connected(
    port: int, *, name: str | None = None, host: str = "127.0.0.1", waits: bool = True, **more: Any
) -> AsyncGenerator[Client]:
    """``name``: asked for (SNI). ``waits``: until the connection stands."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        idle_timeout=FAR_AWAY,
        server_name=name,
        verify_mode=ssl.CERT_NONE,
        **more,
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.bind(("127.0.0.1", 0))
        quic = QuicConnection(configuration=configuration)
        quic.connect((host, port), now=current_time())
        client = Client(udp, quic, (host, port))
        async with create_task_group() as tasks:
            tasks.start_soon(client.run)
            if waits:
                await client.until(lambda: client.is_connected)
            yield client
            tasks.cancel_scope.cancel()
