"""A second machine on this one, for clients that are a long round trip away (Linux, as root).

The second machine is a network namespace. It and this machine have a TUN interface each, and a
process passes every packet from one to the other, after half of the round trip (``relay.py``).
Whatever the kernels of both ends send is delayed: data, acknowledgements, resets. A delaying proxy
would not do, because its own kernel acknowledges at once. ``tc netem`` delays as well, but many
kernels do not have it.

The namespace has no name, and the interfaces end with the process that passes packets on. So
nothing remains, even when this process is killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import FileIO
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ADDRESSES = IPv4Address("198.18.0.0")
"""The network 198.18.0.0/15 is reserved for benchmarks (RFC 2544)."""

PAIRS = 2**15
"""Networks of four addresses in it: each interface of this machine has its own."""

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x4000_0000

QUEUE_LENGTH = "10000"
"""Packets that wait in an interface until they are passed on; 500 by default."""


class NoNetwork(Exception):
    """A second machine is not possible here. The text is the reason."""


class Network:
    """``address``: of this machine, as the clients' machine sees it; servers listen on it."""

    def __init__(self, address: str, clients: ThreadPoolExecutor) -> None:
        self.address = address
        self._clients = clients

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread of the clients' machine. The sockets that it makes and the
        processes that it starts belong to that machine, whoever uses them later."""
        return self._clients.submit(function, *args, **kwargs).result()

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process on the clients' machine."""

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, **options)

        return self.call(start)

    def connect(self, port: int) -> socket.socket:
        """Connect from the clients' machine to a server on :attr:`address`. Raises OSError."""
        return self.call(socket.create_connection, (self.address, port))


@contextmanager
def open_network(round_trip: float) -> Generator[Network]:
    """``round_trip``: in seconds. Raises :class:`NoNetwork`."""
    if shutil.which("ip") is None:
        raise NoNetwork("the command ip is missing (Debian: apt install iproute2)")
    with ExitStack() as stack:
        # One thread, which leaves this machine for good: the namespace lives as long as the thread.
        clients = stack.enter_context(ThreadPoolExecutor(1))
        try:
            clients.submit(_leave_this_machine).result()
            here = stack.enter_context(_open_tun())
            there = stack.enter_context(clients.submit(_open_tun).result())
            name_here, name_there = _add_interface(here), _add_interface(there)
        except OSError as error:
            raise NoNetwork(f"{error}; it needs root, network namespaces and TUN") from error
        first = ADDRESSES + 4 * (socket.if_nametoindex(name_here) % PAIRS)
        servers, others = str(first + 1), str(first + 2)
        _set_up(name_here, servers, others)
        clients.submit(_set_up, name_there, others, servers).result()
        _start_relay(here, there, round_trip / 2, stack)
        yield Network(servers, clients)


def _leave_this_machine() -> None:
    """Move the calling thread into a new network namespace.

    Python 3.12 has os.unshare. It replaces the call by ctypes when the project no longer supports
    Python 3.11.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def _open_tun() -> FileIO:
    """The file belongs to the machine of the calling thread."""
    return Path("/dev/net/tun").open("r+b", buffering=0)


def _add_interface(tun: FileIO) -> str:
    """Add an interface to the machine of ``tun``. It ends when no process has the file open.
    Returns its name, which the kernel chooses."""
    request = struct.pack("16sH22x", b"bench%d", IFF_TUN | IFF_NO_PI)
    answer = fcntl.ioctl(tun, TUNSETIFF, request)
    return answer[:16].rstrip(b"\0").decode()


def _set_up(interface: str, own: str, other: str) -> None:
    """``own`` and ``other``: the addresses of both ends."""
    _ip("address", "add", own, "peer", other, "dev", interface)
    _ip("link", "set", interface, "up", "txqueuelen", QUEUE_LENGTH)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNetwork(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _start_relay(here: FileIO, there: FileIO, delay: float, stack: ExitStack) -> None:
    """Start the process, which runs until the end of ``stack``, and leave both files to it."""
    descriptors = [here.fileno(), there.fileno()]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.relay", *map(str, descriptors), str(delay)],
        stdin=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,
    )
    stack.callback(process.communicate)
    stack.callback(process.kill)
    here.close()
    there.close()
