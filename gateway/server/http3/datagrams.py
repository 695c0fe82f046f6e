"""UDP sockets with the ports of the listening TCP sockets.

A response is sent from the address that the request came to. Only :meth:`Datagrams.readable` waits:
a datagram that the kernel does not take is lost, as on the network.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import TypeAlias, cast

from anyio import wait_readable

from ...errors import GatewayError

Path: TypeAlias = tuple[str | int | bytes, ...]
"""The address of a client as the kernel reports it, and last the address that it has sent to."""

MAX_DATAGRAM_BYTES = 65536
MAX_DATAGRAMS_AT_ONCE = 64
"""Datagrams that are read before other tasks have their turn."""
IP_PKTINFO = 8
"""ip(7), Linux. Python has the name from 3.14 on."""


def open_datagrams(sockets: Sequence[socket.socket]) -> list[Datagrams]:
    """One for each TCP socket. Raises :class:`GatewayError`."""
    opened: list[Datagrams] = []
    try:
        opened.extend(Datagrams(each) for each in sockets)
    except GatewayError:
        for each in opened:
            each.close()
        raise
    return opened


class Datagrams:
    """A UDP socket on address and port of a listening TCP socket. Raises GatewayError.

    When it listens on every address of a machine, the kernel could send from an address that the
    client does not know. So each datagram says from which address it is sent (IP_PKTINFO).
    """

    def __init__(self, listening: socket.socket) -> None:
        self._socket = socket.socket(listening.family, socket.SOCK_DGRAM)
        is_ipv6 = listening.family == socket.AF_INET6
        try:
            if listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if is_ipv6:
                only = listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            self._socket.setblocking(False)
            self._socket.bind(listening.getsockname())
        except OSError as error:
            self._socket.close()
            host, port = listening.getsockname()[:2]
            raise GatewayError(f"cannot use UDP on {host}:{port}: {error.strerror}") from error
        self._is_ipv6 = is_ipv6
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    async def readable(self) -> None:
        await wait_readable(self._socket)

    def received(self) -> Iterator[tuple[bytes, Path]]:
        """The datagrams that have arrived, MAX_DATAGRAMS_AT_ONCE at most."""
        for _ in range(MAX_DATAGRAMS_AT_ONCE):
            try:
                data, ancillary, _, address = self._socket.recvmsg(MAX_DATAGRAM_BYTES, 64)
            except BlockingIOError:
                return
            except OSError:  # of an earlier datagram: its host does not exist
                continue
            local = self._local(ancillary[0][2]) if ancillary else b""
            yield data, (*address, local)

    def send(self, data: bytes, path: Path) -> None:
        *address, local = path
        try:
            self._socket.sendmsg([data], self._from(cast(bytes, local)), 0, tuple(address))
        except OSError:  # no room, no route: QUIC sends it again
            return

    def close(self) -> None:
        self._socket.close()

    def _local(self, info: bytes) -> bytes:
        return info[:16] if self._is_ipv6 else info[4:8]

    def _from(self, local: bytes) -> list[tuple[int, int, bytes]]:
        if not local:
            return []
        if self._is_ipv6:
            return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local + struct.pack("I", 0))]
        return [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("I4s4x", 0, local))]
