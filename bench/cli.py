"""python -m bench: measure, or read a document, and write the results."""

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

from .arguments import document_path, parser
from .backend import open_backend
from .campaign import Campaign, Options, load_count
from .candidates import HAND_WRITTEN, Candidate, available_servers, chosen, peer
from .compare import changes, regressions
from .document import RAW_AMQP, Document, Named, read, write
from .load.own import LoadError, open_generator
from .machine import commit, peer_version, this_machine
from .report.hdr import log
from .report.html import comparison, page
from .report.progress import open_bar
from .report.table import show
from .scenario import Scenario
from .scenarios import all_scenarios
from .session import Tools
from .summary import unmeasured

REGRESSION = 3

SWEPT = ("consume-1", "publish", "publish-transient")
"""Scenarios of a sweep when none is named."""

DIRECT_NAMES = [Named("aiormq", "aiormq, no HTTP"), Named(RAW_AMQP, "raw AMQP, no HTTP")]


class UsageError(Exception):
    """Options that cannot be combined, or a name that does not exist."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
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
    path = document_path(options)
    if not options.read:
        write(document, path)
    files = {path.with_suffix(".html"): page(document), path.with_suffix(".hlog"): log(document)}
    if old is not None:
        files[path.with_name(f"{path.stem}-compared.html")] = comparison(old, document, found)
    print()
    show(document, found)
    print()
    for name, text in files.items():
        name.write_text(text)
        print(name)
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
        profile=document_path(options).parent if options.profile else None,
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
            Named(
                each.name,
                each.title,
                each.baseline,
                each.is_default,
                each.request_bytes,
                each.message_bytes,
            )
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
