"""One connection: its beginning and its end, its time limits, and what its client has not read yet.

It knows nothing of how a request is read: that is :class:`.uvicorn_protocol.HttpProtocol`.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from .cycle import Http1Cycle
from .output import Output
from .sweeper import SWEEP_INTERVAL, ConnectionSweeper
from .uvicorn_inside import STATUS_LINE, UvicornConnection


class LimitedConnection(UvicornConnection):
    """It waits for one thing at a time: headers, a body, the application, or the next request.

    ``_deadline``: when that has taken too long; 0: never. ``_refusal``: the status of the response
    then; 0: the connection is closed without a response. ``cycle``: the request that the
    application has, or had last. ``_partial_head``: the beginning of a head. ``_unread``: bytes
    that are read when the response is complete and the client has read it. The socket is not read
    from while there are such bytes.
    """

    output: Output
    cycle: Http1Cycle | None  # type: ignore[assignment]  # it has what uvicorn uses of its own

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        sweeper: ConnectionSweeper,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.sweeper = sweeper
        self.coalescer = sweeper.coalescer
        self.limits = sweeper.limits
        self.answer_time = sweeper.limits.answer_time
        self._deadline = 0.0
        self._refusal = 408
        self._unread = b""
        self._partial_head = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        sweeper = self.sweeper
        self.output = Output(
            self.transport, sweeper.coalescer, sweeper.arrivals, sweeper.limits.answer_time
        )
        self._expect(self.limits.header_time, 408)
        if len(self.connections) > self.limits.connections:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.sweeper.unsent.wait(self, 0)
        self.flow.resume_writing()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.lost()
        self.output.lost()
        if exc is None:
            self.transport.close()
        self._stop_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay open until it is known whether the client has the response; otherwise close."""
        cycle = self.cycle
        if cycle is None or not cycle.response_complete or not self.output.undecided:
            return False
        cycle.keep_alive = False
        self.output.end()
        return True

    def shutdown(self) -> None:
        """Take no further request. Close the connection when the last response has left."""
        cycle = self.cycle
        self.output.server_stops()
        if cycle is None or cycle.response_complete:
            self.loop.call_soon(self.output.end)  # after the coalesced writes
        else:
            cycle.keep_alive = False

    @property
    def _receiving(self) -> Http1Cycle | None:
        """The request whose body is not complete yet."""
        cycle = self.cycle
        return cycle if cycle is not None and cycle.more_body else None

    # What the client has not read.

    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def cut_off(self) -> None:
        self.transport.abort()

    # Limits.

    def check_time(self, now: float) -> None:
        """Called by the sweeper. While bytes of a response wait for the client, the connection has
        ``answer_time`` in place of ``idle_time``."""
        if self.output.undecided:
            return  # its time limit is that of the output
        if 0 < self._deadline < now:
            if self.transport.get_write_buffer_size():
                if self._deadline + self.answer_time - self.limits.idle_time < now:
                    self.transport.abort()
            elif self._refusal:
                self._refuse(self._refusal)
            else:
                self.transport.close()

    def _expect(self, seconds: float, refusal: int) -> None:
        self._deadline = self.sweeper.now + seconds + SWEEP_INTERVAL
        self._refusal = refusal

    def _refuse(self, status: int) -> None:
        """Respond with a status and nothing else, unless a response has begun, and close."""
        if self.parser is None:
            return  # refused already
        self._stop_reading()
        self._deadline = 0.0
        refused = self._receiving
        if refused is None or not refused.response_started:
            head = STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n"
            retry = b"retry-after: 1\r\n" if status == 503 else b""
            self.output.write(head + retry + b"\r\n")
        if refused is not None and not refused.response_complete:
            refused.lost()
        self.loop.call_soon(self.output.end)  # after the coalesced writes

    def _stop_reading(self) -> None:
        """Bytes that still come belong to no request."""
        self.parser = None
        self._unread = b""
        self._partial_head.clear()
