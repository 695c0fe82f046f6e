"""One soak test, from the start of the gateways to the account of every message."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from gateway.demo.broker import Broker

from ..backend import Backend, open_backend
from ..faults import Stage
from ..process import GatewayProcess
from .accounts import Account, place_of
from .clients import Target
from .faults import MAX_STOP, Scene, break_things, restore
from .flows import Flow, all_flows, gateway_config
from .load import Load
from .queues import feed, find_remaining, keep_on, read
from .report import Report
from .timeline import Timeline
from .watch import Watch

LOOK = 5.0
PROGRESS = 30.0
POLL = 1.0
REST = 2.0
MAX_END = 60.0
"""Seconds: between two looks at a gateway, two lines of progress, two requests to the HTTP backend;
without requests before the last look; until the harness's own connections have ended."""

HEARTBEAT = "?heartbeat=2"
"""Of the gateways' connections: a hanging broker is noticed within four seconds."""


class Plan(Struct, frozen=True):
    """``flags``: of ``gateway run``. ``faults``: their names, see SOAK_FAULTS. ``is_observed``:
    the gateways write an access log and have metrics."""

    seconds: float
    rate: float
    seed: int
    faults: Sequence[str]
    flags: Sequence[str] = ()
    is_observed: bool = False


def soak(plan: Plan, broker: Broker, url: str, folder: Path) -> Report:
    """``url``: of an empty virtual host of the broker. SIGINT and SIGTERM end it early, with its
    report. Faults stop one of the two gateways; the other one shows the use of memory."""
    flows = all_flows()
    with open_backend() as backend:
        with running_gateways(url, backend.url, flows, folder, plan) as gateways:
            timeline = Timeline()
            accounts = [Account(flow.queue, timeline.cause) for flow in flows]
            load = Load(
                [Target(gateway.port) for gateway in gateways],
                flows,
                accounts,
                timeline.now,
                random.Random(plan.seed),
            )
            stage = Stage(broker, gateways[0], url, Counter())
            scene = Scene(stage, load, flows, random.Random(plan.seed))
            report = Report(flows, accounts, load, timeline, Watch(gateways[1]), [])
            asyncio.run(_run(plan, scene, backend, report))
            for gateway in gateways:
                if gateway.is_running and (status := gateway.stop(seconds=MAX_STOP)):
                    report.problems.append(f"a gateway stopped with status {status}")
        _receive_posted(backend, report)
    asyncio.run(_find_remaining(url, report))
    return report


@contextmanager
def running_gateways(
    url: str, http_url: str, flows: list[Flow], folder: Path, plan: Plan
) -> Generator[list[GatewayProcess]]:
    """Two gateways on the same queues. In groups of their own: a Ctrl-C is not for them."""
    config = gateway_config(flows, url + HEARTBEAT, http_url, is_observed=plan.is_observed)
    gateways = [GatewayProcess(config, folder, plan.flags) for _ in range(2)]
    try:
        for gateway in gateways:
            gateway.start(has_own_group=True)
            gateway.wait_for("/__ready")
        yield gateways
    finally:
        for gateway in gateways:
            gateway.kill()


async def _run(plan: Plan, scene: Scene, backend: Backend, report: Report) -> None:
    """Load and faults until ``stop``; everything beside them until ``over``."""
    stop, over = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.call_later(plan.seconds, stop.set)
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(work) for work in _harness(plan.rate, scene, report, over)]
        beside += [
            tasks.create_task(_repeat(POLL, partial(_receive_posted, backend, report), over)),
            tasks.create_task(_repeat(LOOK, partial(_look, report, stop), over)),
            tasks.create_task(_repeat(PROGRESS, partial(_print_progress, report), over)),
        ]
        async with asyncio.TaskGroup() as until_stop:
            until_stop.create_task(scene.load.run(plan.rate, stop))
            until_stop.create_task(break_things(scene, plan.faults, report.timeline, stop))
        if plan.faults:
            await restore(scene)
        await asyncio.sleep(REST)
        _look(report, stop)
        over.set()
        await asyncio.wait(beside, timeout=MAX_END)
        for task in beside:
            task.cancel()


def _harness(
    rate: float, scene: Scene, report: Report, over: asyncio.Event
) -> Iterator[Coroutine[None, None, None]]:
    """The harness's own publishers and consumers."""
    for flow, account in zip(report.flows, report.accounts, strict=True):
        if flow.feed:
            work = partial(feed, flow, account, flow.feed * rate, report.timeline.now, over)
            yield keep_on(scene.stage.url, over, work)
        if flow.is_read:
            work = partial(read, flow.last_queue, account, report.timeline.now, over)
            yield keep_on(scene.stage.url, over, work)


async def _repeat(seconds: float, act: Callable[[], None], over: asyncio.Event) -> None:
    while not over.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), seconds)
        act()


def _receive_posted(backend: Backend, report: Report) -> None:
    """What agents have sent to the HTTP backend."""
    for each in backend.take():
        series, number = place_of(each)
        report.accounts[series].receive(number, report.timeline.now())


def _look(report: Report, stop: asyncio.Event) -> None:
    """A gateway that ended by itself ends the test."""
    if report.watch.gateway.is_running:
        report.watch.look(report.timeline.now())
    elif not stop.is_set():
        report.problems.append("the gateway that no fault stops has ended")
        stop.set()


def _print_progress(report: Report) -> None:
    print(report.progress(), flush=True)


async def _find_remaining(url: str, report: Report) -> None:
    """Of all flows at once."""
    seconds = report.timeline.now()
    async with asyncio.TaskGroup() as tasks:
        for flow, account in zip(report.flows, report.accounts, strict=True):
            tasks.create_task(find_remaining(url, flow, account, seconds))
