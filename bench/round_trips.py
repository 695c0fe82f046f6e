"""Measure the gateway with few connections whose clients are a long round trip away.

A connection has its next request at the earliest one round trip after the last one: N connections
cannot pass more than N / round trip requests a second. A gateway that holds a message until its
client has acknowledged the response holds it for a round trip, too: its prefetch could be the lower
limit.

It needs Linux, root and the command ip (bench/network.py). Exit status: 0, 1 when it could not
measure or when a message is not accounted for.
"""

from __future__ import annotations

import argparse
import math
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from msgspec import Struct

from gateway.demo.broker import open_broker
from gateway.errors import GatewayError

from .accounting import Accounting, combined
from .candidates import Candidate, chosen, peer, running
from .load.histogram import added
from .load.own import LoadError, OwnGenerator, open_generator
from .load.plan import Plan, Step, StepResult
from .load.validity import failing, failures, refusal
from .network import Network, NoNetwork, open_network
from .options import add_peer, count, positive
from .queues import Stock
from .requests import request_of
from .scenarios import consuming
from .tally import Tally

PART = 0.8
"""The rate of the open loop, as a part of what the connections can pass."""

RESERVE = 500
"""Messages that are left in the queue at the end."""

ROW = "{:>8}  {:<18}{:>18}{:>8}{:>8}{:>20}{:>8}{:>8}{:>8}{:>18}"
HEAD = ROW.format(
    "prefetch",
    "candidate",
    "closed: /s (range)",
    "p50 ms",
    "p99",
    "open: /s (range)",
    "p50 ms",
    "p99",
    "failed",
    "lost/duplicated",
)


class Situation(Struct, frozen=True):
    """``round_trip``: seconds."""

    round_trip: float
    prefetch: int
    connections: int
    seconds: float

    @property
    def limit(self) -> float:
        """Requests a second that the connections can pass at most."""
        return self.connections / self.round_trip

    @property
    def warm_up(self) -> float:
        return max(1.0, 10 * self.round_trip)


class Measured(Struct, frozen=True):
    """One repetition of one candidate."""

    closed: StepResult
    open: StepResult
    accounting: Accounting | None


class Setup(Struct, frozen=True):
    """Where candidates are measured. ``generator``: on the clients' machine."""

    network: Network
    generator: OwnGenerator
    folder: Path


def measure(situation: Situation, candidate: Candidate, url: str, setup: Setup) -> Measured:
    """Raises RuntimeError, LoadError and OSError."""
    scenario = consuming(f"round-trip-{situation.prefetch}", "", prefetch_count=situation.prefetch)
    stock = Stock(scenario, url)
    stock.set_up()
    stock.top_up(math.ceil(situation.limit * (situation.warm_up + 2 * situation.seconds)) + RESERVE)
    host = setup.network.address
    with running(candidate, scenario, url, "", setup.folder, host=host) as process:
        tally = Tally(process.received)
        plan = partial(
            Plan,
            host=host,
            port=process.port,
            requests=[request_of(call) for call in scenario.calls],
            connections=situation.connections,
            collects=True,
        )
        results = []
        for each in (
            plan(mode="closed", seconds=situation.warm_up),
            plan(mode="closed", seconds=situation.seconds),
            plan(mode="open", steps=[Step(PART * situation.limit, situation.seconds)]),
        ):
            load = setup.generator.run(each)
            tally.received += load.received
            results += load.steps
    return Measured(results[1], results[2], tally.accounting(scenario, stock))


def row(prefetch: int, name: str, repetitions: Sequence[Measured]) -> str:
    closed = [each.closed for each in repetitions]
    offered = [each.open for each in repetitions]
    accounting = combined(filter(None, (each.accounting for each in repetitions)))
    return ROW.format(
        prefetch,
        name,
        _rate(closed),
        *_percentiles(closed),
        _rate(offered),
        *_percentiles(offered),
        sum(failures(step.statuses) for step in (*closed, *offered)),
        f"{accounting.lost}/{accounting.duplicated}" if accounting else "-",
    )


def _rate(steps: Sequence[StepResult]) -> str:
    rates = [step.responded_in_time / step.seconds for step in steps]
    return f"{median(rates):.1f} ({min(rates):.0f}-{max(rates):.0f})"


def _percentiles(steps: Sequence[StepResult]) -> list[str]:
    """p50 and p99 of all steps together, in milliseconds."""
    histogram = added([step.latency for step in steps])
    return [f"{histogram.get_value_at_percentile(each) / 1e3:.1f}" for each in (50, 99)]


def problems(repetition: Measured) -> list[str]:
    """Why its figures do not count."""
    steps = (repetition.closed, repetition.open)
    found = [text for step in steps for text in (failing(step.statuses), refusal(step)) if text]
    accounting = repetition.accounting
    return found if accounting and accounting.is_clean else [*found, f"messages: {accounting}"]


def measured_round_trip(network: Network) -> float:
    """The shortest of five handshakes, in seconds."""
    with socket.create_server((network.address, 0)) as server:
        port = server.getsockname()[1]
        return min(_handshake(network, port) for _ in range(5))


def _handshake(network: Network, port: int) -> float:
    began = time.monotonic()
    with network.connect(port):
        return time.monotonic() - began


def run(options: argparse.Namespace) -> bool:
    """Measure and print everything. False when figures do not count."""
    named = chosen(options.server or ["http1"], [peer(*each) for each in options.peer])
    candidates = [each for each in named if each.is_gateway]
    is_valid = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        broker = stack.enter_context(open_broker())
        urls = {each.name: broker.add_vhost(f"bench-{each.name}") for each in candidates}
        for milliseconds in options.round_trip:
            with (
                open_network(milliseconds / 1000) as network,
                open_generator(network.popen) as generator,
            ):
                setup = Setup(network, generator, folder)
                print(_title(milliseconds, options.connections, network), HEAD, sep="\n")
                for prefetch in options.prefetch:
                    situation = Situation(
                        milliseconds / 1000, prefetch, options.connections, options.seconds
                    )
                    is_valid &= _compare(situation, candidates, urls, setup, options.repetitions)
    return is_valid


def _title(milliseconds: float, connections: int, network: Network) -> str:
    shortest = measured_round_trip(network) * 1000
    limit = connections / milliseconds * 1000
    return (
        f"\nround trip {milliseconds:g} ms (measured: {shortest:.1f}), {connections} connections: "
        f"at most {limit:g} requests/s; open loop at {PART * limit:g}/s"
    )


def _compare(
    situation: Situation,
    candidates: Sequence[Candidate],
    urls: dict[str, str],
    setup: Setup,
    repetitions: int,
) -> bool:
    """Each repetition measures all candidates. False when figures do not count."""
    found: dict[str, list[Measured]] = {each.name: [] for each in candidates}
    for _ in range(repetitions):
        for each in candidates:
            found[each.name].append(measure(situation, each, urls[each.name], setup))
    is_valid = True
    for name, measured in found.items():
        print(row(situation.prefetch, name, measured), flush=True)
        for problem in (text for each in measured for text in problems(each)):
            print(f"{name}: {problem}", flush=True)
            is_valid = False
    return is_valid


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return 0 if run(options) else 1
    except NoNetwork as reason:
        print(f"error: no network with a round trip: {reason}", file=sys.stderr)
    except (GatewayError, LoadError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.round_trips",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--round-trip",
        type=positive,
        nargs="+",
        default=[50.0, 200.0],
        metavar="MS",
        help="milliseconds (default: 50 200)",
    )
    parser.add_argument(
        "--prefetch",
        type=count,
        nargs="+",
        default=[1, 10],
        metavar="N",
        help="prefetch_count of the consumer (default: 1 10)",
    )
    parser.add_argument(
        "--connections", type=count, default=8, metavar="N", help="HTTP connections (default: 8)"
    )
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        choices=["http1", "hypercorn", "trio"],
        help="measure the gateway on this server; may be repeated (default: http1)",
    )
    add_peer(parser)
    parser.add_argument(
        "--seconds", type=positive, default=5.0, help="length of each load (default: 5)"
    )
    parser.add_argument(
        "--repetitions",
        type=count,
        default=3,
        metavar="N",
        help="how often everything is measured (default: 3)",
    )
    return parser


if __name__ == "__main__":
    # SIGTERM stops the broker and the servers as well, like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
