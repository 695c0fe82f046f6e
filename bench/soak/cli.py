"""Requests of many kinds and random faults: is every message accounted for?

Two gateways serve the same queues of a private RabbitMQ. Clients publish and consume; some of them
read slowly, hang up or reset. Agents pass messages on. Every few seconds something breaks. At the
end each message is in a response, at its backend, or still in its queue.

Exit status: 0, 1 when a message is lost, when a request to publish was answered with 200 and the
broker does not have its message, or when a gateway ended by itself.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway.demo.broker import open_broker
from gateway.errors import GatewayError
from tests.brokers import SUITES, NotAvailable, exact_version, root_of

from .faults import SOAK_FAULTS
from .run import Plan, soak

SERVERS = {
    "http1": ("--server", "http1"),
    "hypercorn": ("--server", "hypercorn"),
    "trio": ("--async-library", "trio"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # it reports each fault
    # SIGTERM stops the broker and the gateways as well, like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    faults = [name for name in options.fault or SOAK_FAULTS if name != "none"]
    plan = Plan(
        options.seconds,
        options.rate,
        options.seed,
        faults,
        SERVERS[options.server],
        options.observed,
    )
    try:
        root = _root(options.broker)
        with open_broker(root=root) as broker, tempfile.TemporaryDirectory() as folder:
            print(
                f"RabbitMQ {exact_version(root)}, {options.server}, {plan.seconds:.0f} s, "
                f"{plan.rate:.0f} requests/s, seed {plan.seed}",
                flush=True,
            )
            report = soak(plan, broker, broker.add_vhost("soak"), Path(folder))
    except (GatewayError, NotAvailable, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(report.lines()))
    return 0 if report.is_good else 1


def _root(version: str) -> Path | None:
    """The folder of that RabbitMQ; None: the installed one. Raises :class:`NotAvailable`."""
    installed = exact_version(None)
    if not version or installed.startswith(f"{version}."):
        return None
    if version not in SUITES:
        raise NotAvailable(f"RabbitMQ {version} is not here; installed is {installed or 'none'}")
    return root_of(version)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60, help="length of the load (default 60)")
    parser.add_argument(
        "--rate", type=float, default=500, help="requests a second, altogether (default: 500)"
    )
    parser.add_argument(
        "--broker",
        default="",
        metavar="VERSION",
        help="version of RabbitMQ: the installed one (default), or one of scripts/brokers --list",
    )
    parser.add_argument("--server", choices=SERVERS, default="http1", help="default: http1")
    parser.add_argument(
        "--observed",
        action="store_true",
        help="the gateways write an access log, and have metrics and traces",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the order of faults and requests (default: 1)"
    )
    parser.add_argument(
        "--fault",
        action="append",
        choices=[*SOAK_FAULTS, "none"],
        help="only this fault, or none; may be repeated (default: all of them)",
    )
    return parser
