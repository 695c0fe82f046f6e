"""TLS between a socket and a protocol that is written for a plain connection.

The TLS transports of asyncio and uvloop do not report bytes that are encrypted and not sent yet
(measured: a response of 8 MB, a client that does not read, 4 MB in the process, write buffer "0").
They also close when the client says that it sends no more. This transport buffers nothing: the
write buffer of the socket's transport is all that is not sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, cast

from ..telemetry.logs import get_logger

log = get_logger("gateway.server")

P = ParamSpec("P")

READ_SIZE = 64 * 1024
NOT_TLS = (
    b"HTTP/1.0 400 Bad Request\r\nconnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)
"""In Go's words."""


class Handshakes:
    """Connections in their handshake: at most ``limit``, each for ``seconds``."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.running: set[TlsTransport] = set()

    def abort(self) -> None:
        for connection in tuple(self.running):
            connection.abort()


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """The socket's protocol, and the transport of the ``protocol`` above."""

    _raw: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(
        self, context: ssl.SSLContext, protocol: asyncio.Protocol, handshakes: Handshakes
    ) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._protocol = protocol
        self._handshakes = handshakes
        self._is_open = False
        self._client_has_ended = False
        self._is_closing = False

    # Called by the socket's transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        handshakes = self._handshakes
        handshakes.running.add(self)
        self._timer = asyncio.get_running_loop().call_later(handshakes.seconds, self._raw.abort)
        if len(handshakes.running) > handshakes.limit:
            self._raw.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._handshakes.running.discard(self)
        if self._is_open:
            self._is_open = False
            self._protocol.connection_lost(exc)
        del self._protocol  # each refers to the other

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._incoming.write(data)
        if self._is_open or self._shake_hands():
            self._read()

    def eof_received(self) -> bool:
        """The end of the TCP stream, or TLS's close_notify before it: the first of them counts."""
        if not self._client_has_ended and self._is_open:
            self._client_has_ended = True
            return bool(self._protocol.eof_received())
        return self._client_has_ended and not self._is_closing

    def pause_writing(self) -> None:
        if self._is_open:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._is_open:
            self._protocol.resume_writing()

    # TLS.

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._fail(error)
            return False
        self._flush()
        self._is_open = True
        self._timer.cancel()
        self._handshakes.running.discard(self)
        self._protocol.connection_made(self)
        return True

    def _read(self) -> None:
        try:
            while not self._is_closing:
                if not (data := self._tls.read(READ_SIZE)):  # the client will send no more
                    if not self.eof_received():
                        self.close()
                    return
                self._protocol.data_received(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._fail(error)

    def _fail(self, error: ssl.SSLError) -> None:
        log.debug("TLS with %s: %s", self.get_extra_info("peername"), error.reason)
        self._flush()  # the alert of TLS
        if error.reason == "HTTP_REQUEST":
            self._raw.write(NOT_TLS)
        self._is_closing = True
        self._raw.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # Called by the protocol above.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing and data:
            self._tls.write(data)
            self._flush()

    def close(self) -> None:
        """Bytes that were written are still sent. The client's close_notify is not waited for."""
        if self._is_closing:
            return
        self._is_closing = True
        with suppress(ssl.SSLError):  # the client has not sent close_notify yet
            self._tls.unwrap()
        self._flush()
        self._raw.close()

    def abort(self) -> None:
        self._is_closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._is_closing or self._raw.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "sslcontext":
            return self._tls.context
        if name == "ssl_object":
            return self._tls
        return self._raw.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()


def over_tls(
    build_protocol: Callable[P, asyncio.Protocol], context: ssl.SSLContext, handshakes: Handshakes
) -> Callable[P, asyncio.Protocol]:
    """``build_protocol`` with TLS below the protocols that it builds."""

    def build(*args: P.args, **keywords: P.kwargs) -> asyncio.Protocol:
        return TlsTransport(context, build_protocol(*args, **keywords), handshakes)

    return build
