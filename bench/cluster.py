"""Requests on a cluster of three RabbitMQ nodes while nodes fail: is every message accounted for?

Each fault is a row for consuming and a row for publishing. Lost: a message that is in no response
with 200 and not in the queue; publishing: a response with 200 whose message is not in the queue.
The exit status is 1 when a message is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

from gateway.demo.broker import Broker

from .cluster_nodes import FAULTS, ClusterFault, Scene, open_cluster, wait_healthy
from .faults import GET, Clients, FaultResult, drain, numbered
from .fill import fill
from .process import configuration, consumer, endpoint, producer, running
from .publish_faults import PublishFaultResult, post

QUORUM = {"x-queue-type": "quorum"}
HEARTBEAT = 2
"""Seconds. A node that hangs is noticed after two heartbeats."""

CALM = 2.0
"""Seconds of requests before the fault."""

RESERVE = 500
"""Messages that are more than the requests."""

MAX_RETURN_TIME = 60.0
"""Seconds until the broker must have returned the messages of a connection that ended."""

_numbers = count(1)


def run_consuming(
    nodes: Sequence[Broker], fault: ClusterFault, folder: Path, rate: float, timeout: str
) -> FaultResult:
    queue = f"numbers-{next(_numbers)}"
    published = int(rate * fault.seconds) + RESERVE
    leader = nodes[fault.leader]
    asyncio.run(fill(leader.url, queue, published, numbered, delivery_mode=2, arguments=QUORUM))
    backend = consumer("", queue, arguments=QUORUM) | {"host": _hosts(nodes)}
    received: Counter[int] = Counter()

    def note(number: int, status: int, body: bytes) -> None:
        if status == 200:
            received[json.loads(body)["n"]] += 1

    with running(configuration(endpoint("/numbers", backend, timeout=timeout)), folder) as gateway:
        gateway.wait_for("/__ready")
        clients = Clients(gateway.port, lambda number: GET, note)
        asyncio.run(_under_load(clients, nodes, fault, rate))
    wait_healthy(nodes)
    remaining = _left(nodes[0].url, queue, set(range(published)) - received.keys())
    return FaultResult(
        published, received, clients.statuses, remaining, clients.longest_gap, large_lost=0
    )


def run_publishing(
    nodes: Sequence[Broker], fault: ClusterFault, folder: Path, rate: float, timeout: str
) -> PublishFaultResult:
    queue = f"numbers-{next(_numbers)}"
    asyncio.run(fill(nodes[fault.leader].url, queue, 0, numbered, arguments=QUORUM))
    backend = producer("", "ex", name=queue, routing_key=queue, arguments=QUORUM)
    backend |= {"host": _hosts(nodes)}
    config = configuration(endpoint("/numbers", backend, method="POST", timeout=timeout))
    confirmed: set[int] = set()

    def note(number: int, status: int, body: bytes) -> None:
        if status == 200:
            confirmed.add(number)

    with running(config, folder) as gateway:
        gateway.wait_for("/__ready")
        clients = Clients(gateway.port, post, note)
        asyncio.run(_under_load(clients, nodes, fault, rate))
    wait_healthy(nodes)
    queued = Counter(_left(nodes[0].url, queue, confirmed))
    return PublishFaultResult(confirmed, queued, clients.statuses, clients.longest_gap)


RUNS: dict[str, Callable[..., FaultResult | PublishFaultResult]] = {
    "consuming": run_consuming,
    "publishing": run_publishing,
}


async def _under_load(
    clients: Clients, nodes: Sequence[Broker], fault: ClusterFault, rate: float
) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(clients.send_requests(fault.seconds, rate))
        await asyncio.sleep(CALM)
        await fault.happen(Scene(nodes, nodes[fault.leader]))


def _hosts(nodes: Sequence[Broker]) -> list[str]:
    return [f"{node.url}?heartbeat={HEARTBEAT}" for node in nodes]


def _left(url: str, queue: str, expected: set[int]) -> list[int]:
    """The numbers in the queue, which is empty then. Waits for the expected ones: the messages of a
    connection that has ended return when the broker has noticed it."""
    found: list[int] = []
    deadline = time.monotonic() + MAX_RETURN_TIME
    while True:
        found += [json.loads(body)["n"] for body in asyncio.run(drain(url, queue))]
        if expected <= set(found) or time.monotonic() > deadline:
            return found


def rows(options: argparse.Namespace) -> Iterator[tuple[str, FaultResult | PublishFaultResult]]:
    with open_cluster() as nodes, tempfile.TemporaryDirectory() as folder:
        for name in options.fault or FAULTS:
            for what in [options.only] if options.only else RUNS:
                result = RUNS[what](
                    nodes, FAULTS[name], Path(folder), options.rate, options.timeout
                )
                yield f"{FAULTS[name].title} | {what}", result


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Faults: " + "; ".join(f"{name}: {each.title}" for name, each in FAULTS.items()),
    )
    parser.add_argument("fault", nargs="*", choices=[*FAULTS, []], help="default: all of them")
    parser.add_argument("--rate", type=float, default=500, help="requests a second (default: 500)")
    parser.add_argument("--timeout", default="2s", help="timeout of the endpoint (default: 2s)")
    parser.add_argument("--only", choices=RUNS, help="consume only, or publish only")
    # SIGTERM stops the nodes as well, like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print("| fault | requests | responses by status | lost | twice | longest gap |")
    print("|---|---|---|---|---|---|", flush=True)
    lost = 0
    for title, result in rows(parser.parse_args()):
        lost += len(result.lost)
        statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(result.statuses.items()))
        print(
            f"| {title} | {statuses} | {len(result.lost)} | {result.duplicates} | "
            f"{result.longest_gap:.2f} s |",
            flush=True,
        )
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
