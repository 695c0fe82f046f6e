"""Measure the gateway beside its floor, and say so. Without options: under three minutes.

Ends with 0, with 3 when --compare found a regression, with 1 when something could not be measured.
"""

from __future__ import annotations

import argparse
import math
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
from .candidates import BY_HAND, Candidate, available_servers, chosen, peer
from .compare import changes, regressions
from .document import TAP, Document, Named, read, write
from .load.own import LoadError, open_generator
from .machine import peer_version, this_machine
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
"""What a sweep is of, unless it is said."""

DIRECT_NAMES = [Named("aiormq", "aiormq, no HTTP"), Named(TAP, "tap, no HTTP")]


class UsageError(Exception):
    """Options that do not go together."""


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
        print("interrupted before anything was measured", file=sys.stderr)
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
            f"compared with {options.compare}: {len(regressions(found))} worse, {len(found)} in all"
        )
    if regressions(found):
        return REGRESSION
    is_partial = document.notes or unmeasured(document)
    return 1 if is_partial and not options.read else 0


def measure(options: argparse.Namespace) -> Document:
    """Raises :class:`UsageError`, and what the parts raise."""
    if options.sweep and (options.k6 or options.profile):
        raise UsageError("a sweep has neither a second opinion nor flame graphs")
    scenarios = _scenarios(options)
    peers = [peer(*each.split("=", 1)) for each in options.peer]
    candidates = chosen(_servers(options), peers)
    if options.url and sum(not each.is_floor for each in candidates) > 1:
        raise UsageError("a broker by --url has one virtual host: measure one candidate there")
    if not options.url:
        candidates = [BY_HAND] * any(map(BY_HAND.takes_part, scenarios)) + candidates
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
            tell=bar.told,
        )
        machine = this_machine(broker)
        for each in options.peer:
            name, path = each.split("=", 1)
            machine.versions[name] = peer_version(path)
        urls = _urls(broker, options.url, candidates)
        campaign = Campaign(scenarios, candidates, urls, tools, own, bar)
        notes: list[str] = []
        try:
            campaign.run()
        except KeyboardInterrupt:
            notes.append("interrupted: what was complete by then")
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
        scenarios=[Named(each.name, each.title, each.floor, each.is_default) for each in scenarios],
        candidates=[Named(each.name, each.title, each.floor) for each in candidates] + direct,
        runs=campaign.runs,
        lives=campaign.lives,
        notes=notes,
    )


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    every = all_scenarios()
    unknown = set(options.scenario) - every.keys()
    if unknown:
        raise UsageError(f"no such scenario: {', '.join(sorted(unknown))} (see --list)")
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
    return list(options.server) or ["uvicorn"]


def _urls(
    broker: Broker | None, url: str | None, candidates: Sequence[Candidate]
) -> dict[str, str]:
    """A virtual host for each candidate that needs one."""
    if broker is None:
        return {each.name: url or "" for each in candidates}
    return {
        each.name: broker.url if each.is_floor else broker.add_vhost(f"bench-{each.name}")
        for each in candidates
    }


def _path(options: argparse.Namespace) -> Path:
    """Of the JSON document; its page lies beside it."""
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
    what.add_argument("--scenario", action="append", default=[], metavar="NAME", help="repeat it")
    what.add_argument("--all", action="store_true", help="every scenario; default: those with a *")
    what.add_argument("--list", action="store_true", help="name the scenarios and end")
    what.add_argument(
        "--server",
        action="append",
        default=[],
        choices=["uvicorn", "hypercorn", "trio", "granian", "all"],
        help="a column of its own for each, with its floor; default: uvicorn",
    )
    what.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PATH",
        type=_named_path,
        help="a gateway with KrakenD's command line, on the very same configuration",
    )
    what.add_argument("--url", metavar="AMQP", help="a broker to use; default: a private node")
    what.add_argument("--no-direct", action="store_true", help="no clients without HTTP")

    how = parser.add_argument_group("how")
    how.add_argument("--seconds", type=_positive, default=1.0, help="of each load (default: 1)")
    how.add_argument("--warm-up", type=_positive, default=0.3, metavar="SECONDS")
    how.add_argument("--repetitions", type=_count, default=3, metavar="N", help="default: 3")
    how.add_argument(
        "--rate",
        type=_positive,
        default=0.0,
        help="of the open loop; default: a third of saturation",
    )
    how.add_argument("--jitter", choices=["poisson", "uniform", "none"], default="poisson")
    how.add_argument(
        "--load", choices=["wrk", "own"], default="wrk", help="for saturation; wrk when there"
    )
    how.add_argument("--sweep", action="store_true", help="rates in steps, up to the knee")
    how.add_argument("--k6", action="store_true", help="a second opinion on the open loop")
    how.add_argument("--profile", action="store_true", help="flame graphs beside the report")

    result = parser.add_argument_group("what becomes of it")
    result.add_argument("--output", metavar="FILE", help="the JSON document; FILE.html beside it")
    result.add_argument("--record", action="store_true", help="as the result of this release")
    result.add_argument("--compare", type=Path, metavar="OLD.json", help="3 on a regression")
    result.add_argument(
        "--read", type=Path, metavar="FILE.json", help="measure nothing: show, compare this one"
    )
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("more than 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _named_path(text: str) -> str:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise argparse.ArgumentTypeError("NAME=PATH")
    return text
