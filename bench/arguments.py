"""The command line of the benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.core.version import VERSION

from .options import add_peer, count, positive

RESULTS = Path(__file__).parent / "results"

DESCRIPTION = """\
Measure the gateway and its baseline, and write a report. Without options it takes three minutes.

Files: NAME.json has every measurement, NAME.html is the report, NAME.hlog has all latencies for the
tools of HdrHistogram. With --compare, NAME-compared.html shows both runs side by side.

Exit status: 0, 3 when --compare found a regression, 1 when something could not be measured.
"""


def document_path(options: argparse.Namespace) -> Path:
    """Path of the JSON document; the other files have the same name."""
    if options.output:
        return Path(options.output).with_suffix(".json")
    if options.read:
        return Path(options.read)
    if options.record:
        return RESULTS / f"{VERSION}.json"
    return RESULTS / "local" / "latest.json"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = made.add_argument_group("what is measured")
    what.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="measure this scenario; may be repeated",
    )
    what.add_argument(
        "--all",
        action="store_true",
        help="measure every scenario (default: those with a * in --list)",
    )
    what.add_argument("--list", action="store_true", help="list the scenarios and exit")
    what.add_argument(
        "--server",
        action="append",
        default=[],
        choices=["http1", "hypercorn", "trio", "granian", "all"],
        help="measure the gateway on this server, and its baseline; may be repeated "
        "(default: http1)",
    )
    add_peer(what)
    what.add_argument(
        "--url", metavar="AMQP", help="URL of the broker (default: a private RabbitMQ node)"
    )
    what.add_argument(
        "--no-direct", action="store_true", help="do not measure AMQP clients without HTTP"
    )

    how = made.add_argument_group("how it is measured")
    how.add_argument(
        "--seconds", type=positive, default=1.0, help="length of each load (default: 1)"
    )
    how.add_argument(
        "--warm-up",
        type=positive,
        default=0.3,
        metavar="SECONDS",
        help="length of the load before the first measurement, and of the same load before each "
        "open loop (default: 0.3)",
    )
    how.add_argument(
        "--repetitions",
        type=count,
        default=3,
        metavar="N",
        help="how often each scenario is measured (default: 3)",
    )
    how.add_argument(
        "--rate",
        type=positive,
        default=0.0,
        help="requests a second of the open loop (default: a third of the maximum throughput)",
    )
    how.add_argument(
        "--jitter",
        choices=["poisson", "uniform", "none"],
        default="poisson",
        help="times between the requests of the open loop (default: poisson)",
    )
    how.add_argument(
        "--load",
        choices=["wrk", "own"],
        default="wrk",
        help="generator for the maximum throughput (default: wrk when it is installed)",
    )
    how.add_argument(
        "--sweep",
        action="store_true",
        help="measure latency by rate, up to the saturation point and at half of it",
    )
    how.add_argument(
        "--k6", action="store_true", help="measure the open loop by k6 as well, to confirm it"
    )
    how.add_argument(
        "--profile", action="store_true", help="write a flame graph of each gateway, by py-spy"
    )

    result = made.add_argument_group("results")
    result.add_argument(
        "--output", metavar="FILE", help="name of the files (default: results/local/latest)"
    )
    result.add_argument("--record", action="store_true", help="write the files as results/VERSION")
    result.add_argument(
        "--compare",
        type=Path,
        metavar="OLD.json",
        help="compare with an earlier result, and write a page with both",
    )
    result.add_argument(
        "--read",
        type=Path,
        metavar="FILE.json",
        help="show this result and write its files again, without measuring",
    )
    return made
