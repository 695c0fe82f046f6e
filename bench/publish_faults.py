"""Publish numbered messages over HTTP while things break: is every message with a 200 in the queue?

python -m bench.publish_faults close --rate 1000 --seconds 12
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gateway.demo.broker import Broker, open_broker

from .faults import FAULTS, QUEUE, Clients, Stage, drain, numbered
from .process import configuration, endpoint, producer, running

LIMIT = 500
"""Length limit of the queue in the case "full"; RabbitMQ rejects further messages."""

CASES = ("close", "broker", "alarm", "term", "kill", "full")


class PublishFaultResult(Struct):
    """``confirmed``: numbers with a 200 response. ``queued``: how often each number is in the
    queue. ``longest_gap``: seconds between two 200 responses."""

    confirmed: set[int]
    queued: Counter[int]
    statuses: Counter[int]
    longest_gap: float

    @property
    def lost(self) -> list[int]:
        return sorted(self.confirmed - self.queued.keys())

    @property
    def duplicates(self) -> int:
        return sum(count - 1 for count in self.queued.values())

    @property
    def unannounced(self) -> int:
        """In the queue without a 200 response: the client does not know the outcome."""
        return len(self.queued.keys() - self.confirmed)

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.items()))
        return (
            f"statuses {statuses}; lost {len(self.lost)}, duplicates {self.duplicates}, "
            f"queued without a 200 {self.unannounced}, longest gap {self.longest_gap:.2f} s"
        )


def post(number: int) -> bytes:
    body = numbered(number)
    headers = b"POST /numbers HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    return headers + body


def run_case(
    name: str,
    broker: Broker,
    url: str,
    folder: Path,
    rate: float,
    seconds: float,
    timeout: str,
    flags: Sequence[str] = (),
) -> PublishFaultResult:
    """Publish numbers at ``rate``; the fault happens after one second."""
    full = {"x-max-length": LIMIT, "x-overflow": "reject-publish"} if name == "full" else {}
    backend = producer(url, "ex", name=QUEUE, arguments=full)
    config = configuration(endpoint("/numbers", backend, method="POST", timeout=timeout))
    confirmed: set[int] = set()

    def note(number: int, status: int, body: bytes) -> None:
        if status == 200:
            confirmed.add(number)

    with running(config, folder, *flags) as gateway:
        gateway.wait_for("/__ready")
        clients = Clients(gateway.port, post, note)
        stage = Stage(broker, gateway, url, Counter())

        async def go() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(clients.send_requests(seconds, rate))
                await asyncio.sleep(1)
                if name in FAULTS:
                    await FAULTS[name](stage)

        asyncio.run(go())
    queued = Counter(json.loads(body)["n"] for body in asyncio.run(drain(url, QUEUE)))
    return PublishFaultResult(confirmed, queued, clients.statuses, clients.longest_gap)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.publish_faults", description=__doc__)
    parser.add_argument("case", nargs="*", help=f"default: all of {', '.join(CASES)}")
    parser.add_argument(
        "--rate", type=float, default=1000, help="messages a second (default: 1000)"
    )
    parser.add_argument("--seconds", type=float, default=10, help="for each case (default: 10)")
    parser.add_argument("--timeout", default="10s", help="timeout of the endpoint (default: 10s)")
    parser.add_argument(
        "--flags", default="", help="flags for gateway run, such as '--server hypercorn'"
    )
    options = parser.parse_args()
    with open_broker() as broker, tempfile.TemporaryDirectory() as folder:
        for name in options.case or CASES:
            url = broker.add_vhost(f"fault-{name}")
            result = run_case(
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
