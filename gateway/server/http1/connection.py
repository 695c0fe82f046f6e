"""One connection: its beginning and its end, its time limits, and what its client has not read yet.

It knows nothing of how a request is read: that is :class:`.protocol.HttpProtocol`.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from .cycle import Cycle
from .direct_cycle import DirectCycle
from .flow_control import FlowControl
from .output import Output
from .response_head import STATUS_LINES
from .server_state import SWEEP_INTERVAL, ServerState


class LimitedConnection(asyncio.Protocol):
    """It waits for one thing at a time: headers, a body, the application, or the next request.

    ``_deadline``: when that has taken too long; 0: never. ``_refusal``: the status of the response
    then; 0: the connection is closed without a response. ``cycle``: the request that the
    application has, or had last. ``_partial_head``: the beginning of a head. ``_unread``: bytes
    that are read when the response is complete and the client has read it. The socket is not read
    from while there are such bytes. ``parser``: None: no more requests are read. ``server``,
    ``client``, ``scheme``: as of ASGI.
    """

    __slots__ = (
        "_deadline",
        "_partial_head",
        "_refusal",
        "_unread",
        "answer_time",
        "client",
        "cycle",
        "flow",
        "limits",
        "loop",
        "output",
        "parser",
        "scheme",
        "server",
        "state",
        "transport",
    )

    transport: asyncio.Transport
    flow: FlowControl
    output: Output

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self.loop = asyncio.get_running_loop()
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.cycle: Cycle | None = None
        self.limits = state.limits
        self.answer_time = state.limits.answer_time
        self.server: tuple[str, int] | None = None
        self.client: tuple[str, int] | None = None
        self.scheme = "http"
        self._deadline = 0.0
        self._refusal = 408
        self._unread = b""
        self._partial_head = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        state = self.state
        state.connections.add(self)
        self.flow = FlowControl(self.transport)
        self.output = Output(self.transport, state.coalescer, state.arrivals, self.answer_time)
        self.server = _address(transport.get_extra_info("sockname"))
        self.client = _address(transport.get_extra_info("peername"))
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        self._expect(self.limits.header_time, 408)
        if len(state.connections) > self.limits.connections:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)
        self.state.unsent.wait(self, 0)
        self.flow.resume_writing()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.lost()
        self.output.lost()
        if exc is None:
            self.transport.close()
        self._stop_reading()

    def eof_received(self) -> bool:
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
            self.end_soon()
        else:
            cycle.keep_alive = False

    def end_soon(self) -> None:
        """Close the connection after the coalesced writes, when every response has arrived."""
        self.loop.call_soon(self.output.end)

    def stop(self) -> None:
        if isinstance(self.cycle, DirectCycle):
            self.cycle.stop()

    def abort(self) -> None:
        """Close the connection now. A request that waits is withdrawn before this returns."""
        cycle = self.cycle
        if isinstance(cycle, DirectCycle) and not cycle.response_complete:
            cycle.lost()
        self.transport.abort()

    @property
    def _receiving(self) -> Cycle | None:
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
        """Called at each sweep. While bytes of a response wait for the client, the connection has
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
        self._deadline = self.state.now + seconds + SWEEP_INTERVAL
        self._refusal = refusal

    def _refuse(self, status: int) -> None:
        """Respond with a status and nothing else, unless a response has begun, and close."""
        if self.parser is None:
            return  # refused already
        self._stop_reading()
        self._deadline = 0.0
        refused = self._receiving
        if refused is None or not refused.response_started:
            head = STATUS_LINES[status] + b"content-length: 0\r\nconnection: close\r\n"
            retry = b"retry-after: 1\r\n" if status == 503 else b""
            self.output.write(head + retry + b"\r\n")
        if refused is not None and not refused.response_complete:
            refused.lost()
        self.end_soon()

    def _stop_reading(self) -> None:
        """Bytes that still come belong to no request."""
        self.parser = None
        self._unread = b""
        self._partial_head.clear()


def _address(found: object) -> tuple[str, int] | None:
    """Host and port of a socket's address; None for a socket that is not TCP."""
    if not isinstance(found, tuple):
        return None
    return str(found[0]), int(found[1])
