"""Consume numbered messages over HTTP while things break: is every message accounted for?

python -m bench.faults close --rate 500 --seconds 12
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import aiormq
from msgspec import Struct
from pamqp.commands import Basic

from gateway.demo.broker import Broker, open_broker

from .fill import fill
from .process import GatewayProcess, configuration, consumer, endpoint, running

QUEUE = "numbers"
GET = b"GET /numbers HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 27
LARGE_SIZES = (262_144, 6_000_000)
"""Bytes: what the gateway's kernel takes at once although its client does not read, and more than
it takes, with its usual limits."""

MAX_UNREAD = 1_000_000
"""Bytes of the longest response of a client that leaves."""


class FaultResult(Struct):
    """What became of ``published`` messages.

    ``received``: how often each number was in a 200 response. ``remaining``: numbers in the queue
    at the end. ``longest_gap``: seconds between responses with 200, or after the last one.
    ``large_lost``: large messages that no client read and that are not in their queue any more.
    """

    published: int
    received: Counter[int]
    statuses: Counter[int]
    remaining: list[int]
    longest_gap: float
    large_lost: int

    @property
    def lost(self) -> list[int]:
        there = set(self.remaining)
        return [n for n in range(self.published) if n not in self.received and n not in there]

    @property
    def duplicates(self) -> int:
        again = sum(count - 1 for count in self.received.values())
        return again + len(set(self.remaining) & self.received.keys())

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.items()))
        return (
            f"statuses {statuses}; lost {len(self.lost) + self.large_lost}, "
            f"duplicates {self.duplicates}, left in the queue {len(self.remaining)}, "
            f"longest gap {self.longest_gap:.2f} s"
        )


class Clients:
    """Sends requests at a fixed rate over kept connections, and passes every response to ``note``:
    the number of the request, status, body.

    ``request``: returns the bytes of the request with that number. A connection that ends before
    the response counts as status 0.
    """

    def __init__(
        self,
        port: int,
        request: Callable[[int], bytes],
        note: Callable[[int, int, bytes], object],
    ) -> None:
        self.statuses: Counter[int] = Counter()
        self.longest_gap = 0.0
        self._port = port
        self._request = request
        self._note = note
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._last = time.monotonic()

    async def send_requests(self, seconds: float, rate: float) -> None:
        async with asyncio.TaskGroup() as requests:
            began = self._last = time.monotonic()
            for number in range(int(seconds * rate)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                requests.create_task(self._send_request(number))
        self.longest_gap = max(self.longest_gap, time.monotonic() - self._last)
        for _, writer in self._idle:
            writer.close()

    async def _send_request(self, number: int) -> None:
        try:
            status, body = await self._exchange(self._request(number))
        except (OSError, asyncio.IncompleteReadError):
            status, body = 0, b""
        self.statuses[status] += 1
        self._note(number, status, body)
        if status == 200:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self._last)
            self._last = now

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request)
            headers = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = 0
            for line in headers.split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in headers:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(headers.split()[1]), body


def numbered(number: int) -> bytes:
    return b'{"n":%d}' % number


def large_body(number: int) -> bytes:
    return b'{"large":"%b"}' % (b"x" * LARGE_SIZES[number % len(LARGE_SIZES)])


async def drain(url: str, queue: str) -> list[bytes]:
    """Take all messages that are left in a queue, in their order."""
    bodies = []
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.5:
            message = await channel.basic_get(queue, no_ack=True)
            if isinstance(message.delivery, Basic.GetOk):
                bodies.append(bytes(message.body))
                quiet_since = time.monotonic()
            else:
                await asyncio.sleep(0.05)
    return bodies


def hang_up(port: int, path: str, number: int, seconds: float) -> Counter[int]:
    """``number`` clients that send a request, wait, and close without reading; half of them by
    reset.

    A response that is complete in a client's own buffer counts as received, because only the client
    can know that it was never read.
    """
    received: Counter[int] = Counter()
    for first in range(0, number, 20):
        clients = [_send_only(port, path, each % 2) for each in range(min(20, number - first))]
        time.sleep(seconds)
        for client in clients:
            response = unread(client)
            if b"\r\n\r\n{" in response and response.endswith(b"}"):
                received[json.loads(response.split(b"\r\n\r\n")[1])["n"]] += 1
            client.close()
    return received


def unread(client: socket.socket) -> bytes:
    """Shut the connection down, and return what the client's kernel has received and the client has
    not read. Later data is rejected with a reset, so the client certainly does not get it."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        # A connection that is closed with unread data is reset.
        return client.recv(MAX_UNREAD, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return b""


def _send_only(port: int, path: str, is_reset: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    if is_reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


async def read_slowly(port: int, path: str, seconds: float) -> None:
    """Send a request, read one byte a second, then close."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    end = time.monotonic() + seconds
    with suppress(OSError):
        while time.monotonic() < end and await loop.sock_recv(client, 1):
            await asyncio.sleep(1)
    client.close()


class Stage(Struct):
    """The processes that a fault affects. ``received``: how often clients received each number."""

    broker: Broker
    gateway: GatewayProcess
    url: str
    received: Counter[int]

    @property
    def vhost(self) -> str:
        return self.url.rsplit("/", 1)[1] or "/"


Fault = Callable[[Stage], Awaitable[None]]


async def close_connections(stage: Stage) -> None:
    """The broker closes every connection, three times in a row."""
    for _ in range(3):
        await asyncio.to_thread(
            stage.broker.ctl, "close_all_connections", "--vhost", stage.vhost, "test"
        )
        await asyncio.sleep(0.7)


async def restart_gateway(stage: Stage) -> None:
    """SIGTERM, then a new start on the same port."""
    await asyncio.to_thread(stage.gateway.stop)
    await asyncio.to_thread(stage.gateway.start)


async def kill_gateway(stage: Stage) -> None:
    """SIGKILL, then a new start on the same port."""
    await asyncio.to_thread(stage.gateway.kill)
    await asyncio.to_thread(stage.gateway.start)


async def restart_broker(stage: Stage) -> None:
    """The broker's application stops and starts again."""
    await asyncio.to_thread(stage.broker.ctl, "stop_app")
    await asyncio.to_thread(stage.broker.ctl, "start_app")


async def raise_memory_alarm(stage: Stage) -> None:
    """A memory alarm blocks connections that publish, not those that consume."""
    await asyncio.to_thread(stage.broker.ctl, "set_vm_memory_high_watermark", "0.0000001")
    await asyncio.sleep(1.5)
    await asyncio.to_thread(stage.broker.ctl, "set_vm_memory_high_watermark", "0.4")


async def clients_hang_up(stage: Stage) -> None:
    """500 clients disconnect, some at once and some later."""
    for seconds in (0.0, 0.0005, 0.001, 0.002, 0.01):
        port = stage.gateway.port
        stage.received += await asyncio.to_thread(hang_up, port, "/numbers", 100, seconds)


async def clients_read_slowly(stage: Stage) -> None:
    """Clients read one byte a second of responses larger than their own socket buffers, then
    close."""
    port = stage.gateway.port
    await asyncio.gather(*(read_slowly(port, "/large", 3) for _ in range(LARGE)))


FAULTS: dict[str, Fault] = {
    "close": close_connections,
    "term": restart_gateway,
    "kill": kill_gateway,
    "broker": restart_broker,
    "alarm": raise_memory_alarm,
    "hangup": clients_hang_up,
    "slow": clients_read_slowly,
}


def run_fault(
    name: str,
    broker: Broker,
    url: str,
    folder: Path,
    rate: float,
    seconds: float,
    timeout: str,
    flags: Sequence[str] = (),
) -> FaultResult:
    """Publish numbers, request them at ``rate``, and let the fault happen after one second."""
    published = int(rate * seconds) + 2000
    asyncio.run(fill(url, QUEUE, published, numbered, delivery_mode=2))
    large = LARGE if name == "slow" else 0
    asyncio.run(fill(url, "large", large, large_body, delivery_mode=2))
    config = configuration(
        endpoint("/numbers", consumer(url, QUEUE), timeout=timeout),
        endpoint("/large", consumer(url, "large"), timeout=timeout),
    )
    with running(config, folder, *flags) as gateway:
        gateway.wait_for("/__ready")
        stage = Stage(broker, gateway, url, Counter())

        def note(number: int, status: int, body: bytes) -> None:
            if status == 200:
                stage.received[json.loads(body)["n"]] += 1

        clients = Clients(gateway.port, lambda number: GET, note)

        async def go() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(clients.send_requests(seconds, rate))
                await asyncio.sleep(1)
                await FAULTS[name](stage)

        asyncio.run(go())
    return FaultResult(
        published,
        stage.received,
        clients.statuses,
        [json.loads(body)["n"] for body in asyncio.run(drain(url, QUEUE))],
        clients.longest_gap,
        large - len(asyncio.run(drain(url, "large"))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("fault", nargs="*", help=f"default: all of {', '.join(FAULTS)}")
    parser.add_argument("--rate", type=float, default=500, help="requests a second (default: 500)")
    parser.add_argument("--seconds", type=float, default=10, help="for each fault (default: 10)")
    parser.add_argument("--timeout", default="10s", help="timeout of the endpoint (default: 10s)")
    parser.add_argument(
        "--flags", default="", help="flags for gateway run, such as '--server hypercorn'"
    )
    options = parser.parse_args()
    with open_broker() as broker, tempfile.TemporaryDirectory() as folder:
        for name in options.fault or FAULTS:
            url = broker.add_vhost(f"fault-{name}")
            result = run_fault(
                name,
                broker,
                url,
                Path(folder),
                options.rate,
                options.seconds,
                options.timeout,
                options.flags.split(),
            )
            print(f"{name:8}{result}", flush=True)


if __name__ == "__main__":
    main()
