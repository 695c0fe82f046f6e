"""Opens one connection to an origin: DNS, TCP, TLS. Runs on the asyncio side."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from time import perf_counter
from typing import Any, TypeAlias

from .connection import BackendConnection
from .targets import Origin

TLS_HANDSHAKE_TIMEOUT = 10.0
"""Seconds (lura, NewTransport)."""

Make: TypeAlias = Callable[[], BackendConnection]
Opened: TypeAlias = tuple[asyncio.Transport, BackendConnection]
Dial: TypeAlias = Callable[[Make, Origin, ssl.SSLContext | None], Awaitable[Opened]]
"""Opens a connection. ``ssl.SSLContext``: None for HTTP. Raises OSError, ValueError."""
Address: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""As ``getaddrinfo`` has it."""


async def dial(make: Make, origin: Origin, tls: ssl.SSLContext | None) -> Opened:
    loop = asyncio.get_running_loop()
    return await loop.create_connection(make, origin.host, origin.port, **_options(origin, tls))


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
        # TLS comes after that: if it fails, no other address is tried.
        connected = await _connect_to_any(addresses)
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(
            make, sock=connected, **_options(origin, tls)
        )
        connection.dns_time = seconds
    session = transport.get_extra_info("ssl_object")
    if isinstance(session, TimedTls):
        connection.tls_time = session.ended - session.began
    return transport, connection


def _options(origin: Origin, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Of ``create_connection``."""
    if tls is None:
        return {}
    return {
        "ssl": tls,
        "server_hostname": origin.host,
        "ssl_handshake_timeout": TLS_HANDSHAKE_TIMEOUT,
    }


class TimedTls(ssl.SSLObject):
    """A TLS session. ``began``, ``ended``: of its handshake, by :func:`time.perf_counter`."""

    began = ended = 0.0

    def do_handshake(self) -> None:
        self.began = self.began or perf_counter()
        super().do_handshake()
        self.ended = perf_counter()


async def _connect_to_any(addresses: Sequence[Address]) -> socket.socket:
    """A connection to the first address that accepts it, as the event loop does it."""
    for address in addresses[:-1]:
        try:
            return await _connect(address)
        except OSError:
            continue
    return await _connect(addresses[-1])


async def _connect(address: Address) -> socket.socket:
    family, kind, protocol, _, target = address
    connected = socket.socket(family, kind, protocol)
    try:
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, target)
    except BaseException:
        connected.close()
        raise
    return connected


async def _resolve(origin: Origin) -> Sequence[Address]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
