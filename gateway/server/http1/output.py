"""What one connection writes, and which of its responses have arrived.

A response has arrived when the client's kernel has acknowledged its last byte. TCP shows only how
many bytes are not acknowledged yet, so every byte of the connection is counted. "Not yet" is
normal, also on loopback: a kernel delays an acknowledgement for up to 40 ms (RFC 9293, 3.8.6.3),
unless it has data to send. So the output is examined when the next request comes, and otherwise by
:class:`.arrival_sweep.ArrivalSweep`. A client that never sends a request before it has the last
response proves the arrival by its next request: then nothing is examined.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ...core.proxy import Arrival
from ...tls.transport import TlsTransport
from ..send_queue import MAX_ACK_WAIT_AT_STOP, is_reset, send_fin, send_queue
from .arrival_sweep import ArrivalSweep
from .write_coalescer import WriteCoalescer


class Output:
    """``queued``: bytes that were passed to ``coalescer``. ``written``: those of them that the
    transport has got. With TLS both count plain text. Each of its bytes is at least one byte on
    the wire, so a response is never taken for arrived too early.

    ``undecided``: the responses that may not have arrived, in their order: the value of ``queued``
    at their last byte, and what depends on them. ``answer_time``: seconds for the client to have
    a response; then the connection is aborted.
    """

    __slots__ = (
        "_answer_time",
        "_coalescer",
        "_descriptor",
        "_fin",
        "_is_ending",
        "_is_stopping",
        "_since",
        "_sweep",
        "looks",
        "queued",
        "transport",
        "undecided",
        "written",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        coalescer: WriteCoalescer,
        sweep: ArrivalSweep,
        answer_time: float,
    ) -> None:
        self.transport = transport
        self.queued = 0
        self.written = 0
        self.undecided: list[tuple[int, Arrival]] = []
        self.looks: int | None = None
        self._answer_time = answer_time
        self._coalescer = coalescer
        self._sweep = sweep
        self._descriptor: int = transport.get_extra_info("socket").fileno()
        self._fin = 0
        self._is_ending = False
        self._is_stopping = False
        self._since = 0.0

    def write(self, data: bytes) -> None:
        self.queued += len(data)
        self._coalescer.write(self, data)

    def when_arrived(self, arrival: Arrival) -> None:
        """Report when the client has everything that is written until now, or that it never will.

        So that one client cannot raise a prefetch without bound, only the first of its responses
        counts as sent.
        """
        if self.transport.is_closing():
            arrival.decided(False)
            return
        if self.looks is None:
            self._sweep.add(self)
        if not self.undecided:
            self._since = self._sweep.now
            arrival.sent()
        self.undecided.append((self.queued, arrival))

    @property
    def is_empty(self) -> bool:
        """Whether the kernel has taken every byte."""
        return self.written == self.queued and not self.transport.get_write_buffer_size()

    def have_arrived(self, count: int) -> None:
        """The first ``count`` undecided responses have arrived, unless the connection is lost."""
        arrived = self.undecided[:count]
        del self.undecided[:count]
        for _, arrival in arrived:
            arrival.decided(True)
        if self.undecided:
            self._since = self._sweep.now
            self.undecided[0][1].sent()
        elif self._is_ending:
            self.transport.close()

    def look(self) -> None:
        """Decide which responses have arrived."""
        transport, undecided = self.transport, self.undecided
        if transport.is_closing() or not undecided:
            return
        unacknowledged = (
            transport.get_write_buffer_size() + send_queue(self._descriptor) - self._fin
        )
        arrived = self.written - unacknowledged
        count = 0
        while count < len(undecided) and undecided[count][0] <= arrived:
            count += 1
        if count:
            self.have_arrived(count)

    def sweep(self, now: float) -> bool:
        """Look, and abort the connection after too long, or when the client has reset it. False:
        everything is decided.

        A reset after a FIN has to be looked for: an event loop does not watch a connection whose
        client has ended and whose bytes the kernel has taken. Nearly all clients have acknowledged
        at the first look, so this costs them nothing.
        """
        self.look()
        if not self.undecided:
            return False
        has_left = not self.transport.get_write_buffer_size()
        if self._is_ending and has_left:
            self._send_fin()
        limit = self._answer_time
        if self._is_stopping:
            limit = MAX_ACK_WAIT_AT_STOP
            if not has_left:  # the grace period is its limit
                self._since = now
        is_late = self._since + limit < now
        if is_late or (self.looks and is_reset(self._descriptor, has_ended=bool(self._fin))):
            self.transport.abort()
        return True

    def end(self) -> None:
        """Close the connection when every response has arrived. The client learns at once that no
        more follows, and acknowledges that without a delay. Not with TLS: a client that closes
        before it has read the end of TLS sends a reset, as if it had not read the response."""
        self._is_ending = True
        if self.undecided:
            self.look()
        if not self.undecided:
            self.transport.close()
        elif not self.transport.get_write_buffer_size():
            self._send_fin()

    def server_stops(self) -> None:
        """From now on the client has only a moment to acknowledge."""
        self._is_stopping = True
        self._since = asyncio.get_running_loop().time()

    def lost(self) -> None:
        """The connection is gone: nothing else arrives."""
        undecided, self.undecided = self.undecided, []
        for _, arrival in undecided:
            arrival.decided(False)

    def _send_fin(self) -> None:
        if self._fin or self.transport.is_closing() or isinstance(self.transport, TlsTransport):
            return
        with suppress(OSError):  # the client has reset the connection
            send_fin(self._descriptor)
            self._fin = 1
