"""python -m bench: fill queues, measure requests, print a table. Under three minutes."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from gateway.broker import open_broker

from .fill import fill
from .load import saturate
from .measure import cpu_seconds, resident_bytes
from .report import Result, table
from .scenarios import SCENARIOS, Scenario, body
from .servers import SERVERS, Server, started

CONNECTIONS = 64
RATES = {"uvicorn": 45_000, "hypercorn": 12_000, "hypercorn-trio": 8_000}
"""More requests a second than there can be: how far queues are filled. A merge is slower."""


def main() -> None:
    options = _parser().parse_args()
    scenarios = [each for each in SCENARIOS if each.name in (options.scenario or (each.name,))]
    servers = [each for each in SERVERS if each.name in (options.server or (each.name,))]
    results: list[Result] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        url = options.url or stack.enter_context(open_broker()).url
        for repetition in range(options.repetitions):
            for server in servers:
                for scenario in scenarios:
                    print(f"{repetition + 1}: {server.name} {scenario.name} ...", flush=True)
                    results.append(measure(scenario, server, url, folder, options))
    print()
    print(table(results))


def measure(
    scenario: Scenario, server: Server, url: str, folder: Path, options: argparse.Namespace
) -> Result:
    """Fill the queues, start the server, warm it up, measure."""
    rate = RATES[server.name] // (1 if scenario.queues < 2 else 3)
    messages = int(rate * (options.seconds + options.warmup))
    for number, queue in enumerate(scenario.queue_names):
        asyncio.run(fill(url, queue, messages, partial(body, number)))
    with started(scenario, server, url, folder, options.gateway) as (pid, address):
        saturate(address, CONNECTIONS, options.warmup)
        before = cpu_seconds(pid)
        load = saturate(address, CONNECTIONS, options.seconds)
        cpu = (cpu_seconds(pid) - before) / load.requests * 1e6
        return Result(server.name, scenario.name, load, cpu, resident_bytes(pid))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--url", help="a broker to use; default: a private one")
    parser.add_argument("--server", action="append", choices=[each.name for each in SERVERS])
    parser.add_argument("--scenario", action="append", choices=[each.name for each in SCENARIOS])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--warmup", type=float, default=1)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--gateway", default="", help="another command, with {config} and {port}")
    return parser


if __name__ == "__main__":
    main()
