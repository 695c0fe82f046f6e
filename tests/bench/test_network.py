"""What clients on the second machine see, and that nothing of it remains.

A busy machine makes every delay longer and none shorter: bounds are lower ones.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.network import Network, NoNetwork, open_network
from tests.networks import delayed_network

ROUND_TRIP = 0.1

NAMESPACE = "/proc/thread-self/ns/net"

HOLD = """
import os
from bench.network import open_network
with open_network(0.1) as network:
    print(network.address, network.call(os.readlink, "/proc/thread-self/ns/net"), flush=True)
    input()
"""

WITHOUT_ROOT = """
import os
from bench.network import NoNetwork, open_network
os.setuid(65534)
try:
    with open_network(0.1):
        pass
except NoNetwork as reason:
    print(reason)
"""


def connected(network: Network) -> tuple[socket.socket, socket.socket]:
    """The server's end and the client's."""
    with socket.create_server((network.address, 0)) as server:
        client = network.connect(server.getsockname()[1])
        return server.accept()[0], client


def unacknowledged(connection: socket.socket) -> int:
    """Bytes that the kernel at the other end has not acknowledged."""
    answer = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)


def exists(address: str, namespace: str) -> bool:
    """Whether this machine has the address, or any thread is in the namespace."""
    try:
        socket.create_server((address, 0)).close()
    except OSError:
        return namespace in namespaces()
    return True


def namespaces() -> set[str]:
    """Of the network, of every thread of this machine."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/task/[0-9]*/ns/net"):
        try:
            found.add(str(link.readlink()))
        except OSError:  # the thread has ended
            continue
    return found


def test_a_byte_and_its_answer_take_at_least_the_round_trip() -> None:
    with delayed_network(ROUND_TRIP) as network:
        server, client = connected(network)
        with server, client:
            began = time.monotonic()
            client.sendall(b"?")
            assert server.recv(1) == b"?"
            assert time.monotonic() - began >= ROUND_TRIP / 2
            server.sendall(b"!")
            assert client.recv(1) == b"!"
            assert time.monotonic() - began >= ROUND_TRIP


def test_the_acknowledgement_of_the_clients_kernel_takes_the_round_trip_too() -> None:
    with delayed_network(ROUND_TRIP) as network:
        server, client = connected(network)
        with server, client:
            began = time.monotonic()
            server.sendall(b"x" * 100)
            wait_until(lambda: not unacknowledged(server))
            assert time.monotonic() - began >= ROUND_TRIP


def test_everything_arrives_in_its_order() -> None:
    sent = b"".join(b"%07d\n" % number for number in range(100_000))
    with delayed_network(0.01) as network:
        server, client = connected(network)
        with server:

            def send() -> None:
                with client:
                    client.sendall(sent)

            sender = threading.Thread(target=send)
            sender.start()
            received = b"".join(iter(lambda: server.recv(65_536), b""))
            sender.join()
    assert received == sent


def test_a_process_belongs_to_the_machine_from_which_it_is_started() -> None:
    with delayed_network(ROUND_TRIP) as network:
        command = ["readlink", "/proc/self/ns/net"]
        with network.popen(command, stdout=subprocess.PIPE) as process:
            shown = process.communicate()[0].decode().strip()
        assert shown == network.call(os.readlink, NAMESPACE)
        assert shown != str(Path(NAMESPACE).readlink())


def test_two_networks_do_not_meet() -> None:
    with delayed_network(0.01) as one, delayed_network(0.01) as other:
        assert one.address != other.address
        for network in (one, other):
            for end in connected(network):
                end.close()


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_nothing_remains_at_the_end(error: type[BaseException] | None) -> None:
    try:
        with delayed_network(ROUND_TRIP) as network:
            namespace = network.call(os.readlink, NAMESPACE)
            assert exists(network.address, namespace)
            if error is not None:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        pass
    wait_until(lambda: not exists(network.address, namespace))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_remains_of_a_process_that_ends_by_a_signal(number: signal.Signals) -> None:
    with delayed_network(ROUND_TRIP):
        pass  # it is possible here
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address, namespace = process.stdout.readline().split()
        assert exists(address, namespace)
        process.send_signal(number)
        wait_until(lambda: not exists(address, namespace))


def test_the_reason_is_named_when_the_command_ip_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoNetwork, match="iproute2"), open_network(ROUND_TRIP):
        pass


def test_the_reason_is_named_without_root() -> None:
    with delayed_network(ROUND_TRIP):
        pass  # it is possible with root
    shown = subprocess.check_output([sys.executable, "-c", WITHOUT_ROOT], text=True)
    assert "not permitted" in shown
    assert "root" in shown
