"""Opens one connection to an origin: DNS, TCP, TLS. Runs on the asyncio side."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from time import perf_counter
from typing import TypeAlias

from .connection import BackendConnection
from .targets import Origin

TLS_HANDSHAKE_TIMEOUT = 10.0
"""Seconds (lura, NewTransport)."""

Make: TypeAlias = Callable[[], BackendConnection]
Opened: TypeAlias = tuple[asyncio.Transport, BackendConnection]
Dial: TypeAlias = Callable[[Make, Origin, ssl.SSLContext | None], Awaitable[Opened]]
"""Opens a connection. ``ssl.SSLContext``: None for HTTP. Raises OSError, ValueError."""


async def dial(make: Make, origin: Origin, tls: ssl.SSLContext | None) -> Opened:
    return await _connect(make, origin.host, origin, tls)


async def dial_timed(make: Make, origin: Origin, tls: ssl.SSLContext | None) -> Opened:
    """As :func:`dial`, and the connection gets its ``dns_time`` and its ``tls_time``."""
    if tls is not None:
        tls.sslobject_class = TimedTls
    if _is_address(origin.host):
        transport, connection = await dial(make, origin, tls)
    else:
        started = perf_counter()
        addresses = await _resolve(origin)
        seconds = perf_counter() - started
        transport, connection = await _connect_to_any(make, addresses, origin, tls)
        connection.dns_time = seconds
    session = transport.get_extra_info("ssl_object")
    if isinstance(session, TimedTls):
        connection.tls_time = session.ended - session.began
    return transport, connection


class TimedTls(ssl.SSLObject):
    """A TLS session. ``began``, ``ended``: of its handshake, by :func:`time.perf_counter`."""

    began = ended = 0.0

    def do_handshake(self) -> None:
        self.began = self.began or perf_counter()
        super().do_handshake()
        self.ended = perf_counter()


async def _connect(make: Make, host: str, origin: Origin, tls: ssl.SSLContext | None) -> Opened:
    """``host``: the host of the origin, or one of its addresses."""
    loop = asyncio.get_running_loop()
    if tls is None:
        return await loop.create_connection(make, host, origin.port)
    return await loop.create_connection(
        make,
        host,
        origin.port,
        ssl=tls,
        server_hostname=origin.host,
        ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT,
    )


async def _connect_to_any(
    make: Make, addresses: list[str], origin: Origin, tls: ssl.SSLContext | None
) -> Opened:
    """The first address that accepts a connection, as the event loop does it."""
    for address in addresses[:-1]:
        try:
            return await _connect(make, address, origin, tls)
        except ssl.SSLError:
            raise
        except OSError:
            continue
    return await _connect(make, addresses[-1], origin, tls)


async def _resolve(origin: Origin) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(
        origin.host, origin.port, type=socket.SOCK_STREAM
    )
    return [str(address[0]) for *_, address in found]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
