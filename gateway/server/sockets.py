"""Listening sockets, for all servers alike."""

from __future__ import annotations

import socket

from ..errors import GatewayError

BACKLOG = 4096
EVERY_IPV4, EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104


def open_sockets(
    host: str, port: int, *, answer_time: float, is_shared: bool = False
) -> list[socket.socket]:
    """Listen on ``host``; empty: on every address, IPv4 and IPv6.

    ``answer_time``: seconds after which the kernel gives up a client that reads nothing
    (TCP_USER_TIMEOUT; accepted sockets inherit it). ``is_shared``: other processes listen on
    the same port. Raises :class:`GatewayError`.
    """
    is_dual = not host and socket.has_dualstack_ipv6()
    bound = host or (EVERY_IPV6 if is_dual else EVERY_IPV4)
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        milliseconds = int(answer_time * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listening.setblocking(False)
        listening.bind((bound, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise GatewayError(f"cannot listen on {host or '*'}:{port}: {error.strerror}") from error
    return [listening]


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def address(listening: socket.socket) -> str:
    """``host:port`` for a URL: an unspecified address becomes 127.0.0.1."""
    host, port = listening.getsockname()[:2]
    if host in (EVERY_IPV4, EVERY_IPV6):
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
