"""TLS between a socket and a protocol that takes it for a plain connection.

asyncio's and uvloop's own transports hide what they have encrypted and not sent yet (measured: an
answer of 8 MB to a client that does not read, 4 MB of it in the process, write buffer "0"), and
close when the client says that it will send no more. Here nothing is buffered: what the socket's
transport tells is the whole truth.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from ..telemetry.logs import get_logger

log = get_logger("gateway.server")

READ_SIZE = 64 * 1024
NOT_TLS = (
    b"HTTP/1.0 400 Bad Request\r\nconnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)
"""As Go says it."""


class Handshakes:
    """Connections that do not speak TLS yet: at most ``limit``, each for ``seconds``."""

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
        self._has_ended = False
        self._is_closing = False

    # What the socket tells.

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
        del self._protocol  # each knows the other

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._incoming.write(data)
        if self._is_open or self._shake_hands():
            self._read()

    def eof_received(self) -> bool:
        """By the end of the stream, or by what TLS says before it: the first of them counts."""
        if not self._has_ended and self._is_open:
            self._has_ended = True
            return bool(self._protocol.eof_received())
        return self._has_ended and not self._is_closing

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
        self._flush()  # what is to be said of it
        if error.reason == "HTTP_REQUEST":
            self._raw.write(NOT_TLS)
        self._is_closing = True
        self._raw.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # What the protocol above asks for.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing and data:
            self._tls.write(data)
            self._flush()

    def close(self) -> None:
        """What was written still leaves; the other side's close_code is not waited for."""
        if self._is_closing:
            return
        self._is_closing = True
        with suppress(ssl.SSLError):  # the other side has not said close_code yet
            self._tls.unwrap()
        self._flush()
        self._raw.close()

    def abort(self) -> None:
        self._is_closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._is_closing or self._raw.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
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
    build_protocol: Callable[..., asyncio.Protocol],
    context: ssl.SSLContext,
    handshakes: Handshakes,
) -> Callable[..., asyncio.Protocol]:
    """What builds the protocols of a server's connections, with TLS below them."""

    def build(*args: Any, **keywords: Any) -> asyncio.Protocol:
        return TlsTransport(context, build_protocol(*args, **keywords), handshakes)

    return build
