"""The broker's limit: AMQP clients without HTTP on a scenario's queues."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Event
from typing import Literal

from msgspec import json
from msgspec.structs import replace

from .candidates import SERVERS, running
from .direct import BATCH, Direct
from .document import RAW_AMQP, Mode, Run, with_step
from .load.own import do_nothing, ignore, open_generator
from .load.plan import Plan, Step, StepResult
from .load.validity import failing, refusal
from .measure import cpu_seconds
from .messages import PUBLISHED
from .queues import Stock
from .requests import request_of
from .scenario import EXCHANGE, Scenario
from .session import OPEN_CONNECTIONS, UNWATCHED, Tools

LIMITS = {"consume-1": "consume", "publish": "publish"}
"""Scenarios for which AMQP clients measure the maximum throughput, and what they do."""

CONFIRMED = {"publish": 2, "publish-transient": 1}
"""Scenarios for which the broker's time to confirm is measured, and the delivery mode."""

MARGIN = 1.0
"""Seconds that the baseline responds longer than the confirms are measured."""

CLIENTS = {"aiormq": 40_000, RAW_AMQP: 120_000}
"""AMQP clients, and more messages a second than each can consume."""


Measure = Callable[[Stock, int, float, float, Tools], Run]
"""Queues, repetition, messages a second, seconds, tools."""


def clients_without_http(scenario: Scenario, is_sweep: bool = False) -> list[tuple[str, Measure]]:
    """Clients that do without HTTP what the candidates of a scenario do, and how each is measured.
    In a sweep only the time to confirm is measured."""
    is_confirmed = scenario.name in CONFIRMED
    if is_sweep:
        return [(RAW_AMQP, confirm_with_baseline)] if is_confirmed else []
    if scenario.kind == "waiting":
        return [(RAW_AMQP, deliver)]
    clients = CLIENTS if scenario.name in LIMITS else ()
    at_rate = [(RAW_AMQP, confirm)] if is_confirmed else []
    return [*((name, partial(run_client, name)) for name in clients), *at_rate]


def run_client(
    name: str, stock: Stock, repetition: int, rate: float, seconds: float, tools: Tools
) -> Run:
    """Consume or publish as many messages as possible, whatever ``rate`` is; see ``direct.py``."""
    scenario, broker = stock.scenario, tools.broker
    if stock.full:
        stock.top_up(round(CLIENTS[name] * seconds))
    queue = scenario.queues[0]
    before = cpu_seconds(broker.pid) if broker is not None else 0.0
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.direct", name, LIMITS[scenario.name], stock.url),
            *(queue.routing_key or queue.name, str(seconds)),
        ],
        check=True,
        stdout=subprocess.PIPE,
    )
    direct = json.decode(done.stdout, type=Direct)
    per_message = 1e6 / max(1, direct.messages)
    return Run(
        scenario=scenario.name,
        candidate=name,
        repetition=repetition,
        mode="direct",
        tool="own",
        seconds=direct.seconds,
        requests=direct.messages,
        rate=direct.messages / direct.seconds,
        statuses={200: direct.messages},
        cpu=direct.cpu * per_message,
        broker_cpu=(cpu_seconds(broker.pid) - before) * per_message if broker else None,
        refused="a queue ran empty" if stock.full and stock.least() < BATCH else "",
    )


def deliver(stock: Stock, repetition: int, rate: float, seconds: float, tools: Tools) -> Run:
    """From publishing a message to its delivery: the baseline of clients that wait for it."""
    step = Step(rate, max(1.0, seconds))
    return _publish(stock, repetition, "waiting", "deliver", step, tools, do_nothing)


def confirm(
    stock: Stock,
    repetition: int,
    rate: float,
    seconds: float,
    tools: Tools,
    meanwhile: AbstractContextManager[None] = UNWATCHED,
) -> Run:
    """From publishing a message to the broker's confirm: the broker's part of a request's latency.

    ``meanwhile``: entered when the queue is in a steady state.
    """
    step = Step(rate, seconds)
    with stock.in_steady_state([step]) as begin, meanwhile:
        run = _publish(stock, repetition, "open", "confirm", step, tools, begin)
    return run if run.refused else replace(run, refused=stock.shortage(0))


def confirm_with_baseline(
    stock: Stock, repetition: int, rate: float, seconds: float, tools: Tools
) -> Run:
    """Like :func:`confirm`, while the baseline responds to as many requests: both parts of a
    publish on the same machine, without a gateway."""
    baseline: list[StepResult] = []
    step = Step(rate, seconds + MARGIN)
    responding = _baseline_responding(stock.scenario, step, tools, baseline.append)
    run = confirm(stock, repetition, rate, seconds, tools, responding)
    problem = refusal(baseline[0]) or failing(baseline[0].statuses)
    return replace(run, refused=f"the baseline: {problem}") if problem and not run.refused else run


@contextmanager
def _baseline_responding(
    scenario: Scenario, step: Step, tools: Tools, report: Callable[[StepResult], object]
) -> Generator[None]:
    """The baseline responds from before the block until after it, if the block is shorter than the
    step. ``report`` is then called with its result."""
    _, baseline = SERVERS["http1"]
    with (
        running(baseline, scenario, "", "", tools.folder) as process,
        open_generator() as generator,
        ThreadPoolExecutor(1) as executor,
    ):
        plan = Plan(
            port=process.port,
            requests=[request_of(call) for call in scenario.calls],
            mode="open",
            steps=[step],
            connections=OPEN_CONNECTIONS,
            jitter=tools.jitter,
            first_number=PUBLISHED,
        )
        begun = Event()
        responding = executor.submit(generator.run, plan, ignore, begun.set)
        responding.add_done_callback(lambda _: begun.set())  # also when there is no server
        begun.wait()
        yield
        report(responding.result().steps[0])


def _publish(
    stock: Stock,
    repetition: int,
    mode: Mode,
    ends: Literal["deliver", "confirm"],
    step: Step,
    tools: Tools,
    begin: Callable[[], object],
) -> Run:
    """Publish with the generator. Its own CPU is not in the run."""
    scenario = stock.scenario
    target = next(queue for queue in scenario.queues if queue.name == scenario.target)
    plan = Plan(
        port=0,
        requests=[],
        mode=ends,
        steps=[step],
        connections=0,
        jitter=tools.jitter,
        first_number=PUBLISHED,
        publish=(stock.url, EXCHANGE, target.routing_key or target.name),
        delivery_mode=CONFIRMED.get(scenario.name, 2),
    )
    result = tools.generator.run(plan, tools.on_progress, begin)
    found = result.steps[0]
    run = Run(
        scenario=scenario.name,
        candidate=RAW_AMQP,
        repetition=repetition,
        mode=mode,
        tool="own",
        seconds=found.seconds,
        requests=found.requests,
        rate=found.responded_in_time / found.seconds,
        statuses=found.statuses,
    )
    return with_step(run, found, found.requests)
