"""Measure the gateway and its baseline, and write a report. Without options it takes three minutes.

Exit status: 0, 3 when --compare found a regression, 1 when something could not be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from gateway.core.version import VERSION
from gateway.demo.broker import Broker, open_broker

from .backend import open_backend
from .campaign import Campaign, Options, load_count
from .candidates import HAND_WRITTEN, Candidate, available_servers, chosen, peer
from .compare import changes, regressions
from .document import RAW_AMQP, Document, Named, read, write
from .load.own import LoadError, open_generator
from .machine import commit, peer_version, this_machine
from .options import count, named_path, positive
from .report.html import page
from .report.progress import open_bar
from .report.table import show
from .scenario import Scenario
from .scenarios import all_scenarios
from .session import Tools
from .summary import unmeasured

RESULTS = Path(__file__).parent / "results"
REGRESSION = 3

SWEPT = ("consume-1", "publish", "publish-transient")
"""Scenarios of a sweep when none is named."""

DIRECT_NAMES = [Named("aiormq", "aiormq, no HTTP"), Named(RAW_AMQP, "raw AMQP, no HTTP")]


class UsageError(Exception):
    """Options that cannot be combined, or a name that does not exist."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.list:
            for scenario in all_scenarios().values():
                print(f"{scenario.name:18}{scenario.title}{' *' if scenario.is_default else ''}")
            return 0
        old = read(options.compare) if options.compare else None
        document = read(options.read) if options.read else measure(options)
    except (UsageError, LoadError, RuntimeError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted before the first measurement", file=sys.stderr)
        return 1
    found = changes(old, document) if old is not None else []
    path = _path(options)
    if not options.read:
        write(document, path)
    path.with_suffix(".html").write_text(page(document, found))
    print()
    show(document, found)
    print(f"\n{path.with_suffix('.html')}")
    if old is not None:
        print(
            f"compared with {options.compare}: {len(found)} changes, "
            f"{len(regressions(found))} of them worse"
        )
    if regressions(found):
        return REGRESSION
    is_partial = document.notes or unmeasured(document)
    return 1 if is_partial and not options.read else 0


def measure(options: argparse.Namespace) -> Document:
    """Raises :class:`UsageError`, LoadError, RuntimeError and OSError."""
    if options.sweep and (options.k6 or options.profile):
        raise UsageError("--sweep cannot be combined with --k6 or --profile")
    scenarios = _scenarios(options)
    peers = [peer(*each) for each in options.peer]
    candidates = chosen(_servers(options), peers, has_limit=not options.sweep)
    if options.url and sum(each.is_gateway for each in candidates) > 1:
        raise UsageError("--url names one virtual host: only one candidate can be measured there")
    if not options.url:
        candidates = [HAND_WRITTEN] * any(map(HAND_WRITTEN.takes_part, scenarios)) + candidates
    own = Options(
        seconds=options.seconds,
        warm_up=options.warm_up,
        repetitions=options.repetitions,
        rate=options.rate,
        is_sweep=options.sweep,
        uses_k6=options.k6,
        has_direct=not options.no_direct,
        profile=_path(options).parent if options.profile else None,
    )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        broker = None if options.url else stack.enter_context(open_broker())
        scenarios = [each for each in scenarios if broker or each.kind != "recovery"]
        bar = stack.enter_context(open_bar(load_count(scenarios, candidates, own)))
        tools = Tools(
            stack.enter_context(open_generator()),
            stack.enter_context(open_backend()),
            broker,
            folder,
            use_wrk=options.load == "wrk",
            jitter=options.jitter,
            on_progress=bar.on_progress,
        )
        machine = this_machine(broker)
        for name, path in options.peer:
            machine.versions[name] = peer_version(path)
        urls = _urls(broker, options.url, candidates)
        campaign = Campaign(scenarios, candidates, urls, tools, own, bar)
        notes: list[str] = []
        try:
            campaign.run()
        except KeyboardInterrupt:
            notes.append("This run was interrupted: only complete measurements are included.")
    notes += campaign.problems
    named = {run.candidate for run in campaign.runs if run.mode != "half"}
    direct = [each for each in DIRECT_NAMES if each.name in named]
    return Document(
        started=started,
        version=VERSION,
        command=["python", "-m", "bench", *sys.argv[1:]],
        machine=machine,
        seconds=own.seconds,
        repetitions=own.repetitions,
        scenarios=[
            Named(each.name, each.title, each.baseline, each.is_default, each.request_bytes)
            for each in scenarios
        ],
        candidates=[Named(each.name, each.title, each.baseline) for each in candidates] + direct,
        runs=campaign.runs,
        lives=campaign.lives,
        notes=notes,
        commit=commit(),
    )


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    every = all_scenarios()
    unknown = set(options.scenario) - every.keys()
    if unknown:
        raise UsageError(f"unknown scenario: {', '.join(sorted(unknown))} (see --list)")
    if options.scenario:
        return [every[name] for name in every if name in options.scenario]
    if options.sweep:
        return [every[name] for name in SWEPT]
    return [each for each in every.values() if options.all or each.is_default]


def _servers(options: argparse.Namespace) -> list[str]:
    available = available_servers()
    if "all" in options.server:
        return available
    missing = set(options.server) - set(available)
    if missing:
        raise UsageError(f"not installed: {', '.join(sorted(missing))}")
    return list(options.server) or ["http1"]


def _urls(
    broker: Broker | None, url: str | None, candidates: Sequence[Candidate]
) -> dict[str, str]:
    """A virtual host for each candidate that needs one."""
    if broker is None:
        return {each.name: url or "" for each in candidates}
    return {
        each.name: broker.add_vhost(f"bench-{each.name}") if each.is_gateway else broker.url
        for each in candidates
    }


def _path(options: argparse.Namespace) -> Path:
    """Path of the JSON document; the HTML report has the same name."""
    if options.output:
        return Path(options.output).with_suffix(".json")
    if options.read:
        return Path(options.read)
    if options.record:
        return RESULTS / f"{VERSION}.json"
    return RESULTS / "local" / "latest.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is measured")
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
    what.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PATH",
        type=named_path,
        help="measure another gateway on the same configuration; it must have KrakenD's command "
        "line; may be repeated",
    )
    what.add_argument(
        "--url", metavar="AMQP", help="URL of the broker (default: a private RabbitMQ node)"
    )
    what.add_argument(
        "--no-direct", action="store_true", help="do not measure AMQP clients without HTTP"
    )

    how = parser.add_argument_group("how it is measured")
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

    result = parser.add_argument_group("results")
    result.add_argument(
        "--output", metavar="FILE", help="write FILE.json and FILE.html (default: in results/local)"
    )
    result.add_argument(
        "--record", action="store_true", help="write the result of this version (in results)"
    )
    result.add_argument(
        "--compare",
        type=Path,
        metavar="OLD.json",
        help="compare with an earlier result; the exit status is 3 on a regression",
    )
    result.add_argument(
        "--read",
        type=Path,
        metavar="FILE.json",
        help="show this result, and write its HTML report, without measuring",
    )
    return parser
