"""The broker's limit: what clients that speak AMQP get of a scenario's queues."""

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
from .document import TAP, Mode, Run, with_step
from .load.own import nobody, nothing, open_generator
from .load.plan import Plan, Step, StepResult
from .load.validity import failing, refusal
from .measure import cpu_seconds
from .messages import PUBLISHED
from .queues import Stock
from .requests import request_of
from .scenario import EXCHANGE, Scenario
from .session import OPEN_CONNECTIONS, UNWATCHED, Tools

LIMITS = {"consume-1": "consume", "publish": "publish"}
"""Scenarios beside which clients are run, and what they do."""

CONFIRMED = {"publish": 2, "publish-transient": 1}
"""Scenarios beside which the broker's confirms are measured, and the delivery mode."""

MARGIN = 1.0
"""Seconds that a floor answers longer than what is measured beside it."""

CLIENTS = {"aiormq": 40_000, TAP: 120_000}
"""And more messages a second than each takes."""


Measure = Callable[[Stock, int, float, float, Tools], Run]
"""Queues, repetition, messages a second, seconds, tools."""


def clients_beside(scenario: Scenario, is_sweep: bool = False) -> list[tuple[str, Measure]]:
    """Who does without HTTP what the candidates of a scenario do, and how it is measured; beside
    a sweep at its rate alone."""
    is_confirmed = scenario.name in CONFIRMED
    if is_sweep:
        return [(TAP, confirm_beside_floor)] if is_confirmed else []
    if scenario.kind == "waiting":
        return [(TAP, deliver)]
    clients = CLIENTS if scenario.name in LIMITS else ()
    at_rate = [(TAP, confirm)] if is_confirmed else []
    return [*((name, partial(run_client, name)) for name in clients), *at_rate]


def run_client(
    name: str, stock: Stock, repetition: int, rate: float, seconds: float, tools: Tools
) -> Run:
    """As many messages as it can take, or publish, whatever ``rate`` is; see ``direct.py``."""
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
    """From publishing a message to its delivery: the floor of clients that wait for it."""
    step = Step(rate, max(1.0, seconds))
    return _publish(stock, repetition, "waiting", "tap", step, tools, nothing)


def confirm(
    stock: Stock,
    repetition: int,
    rate: float,
    seconds: float,
    tools: Tools,
    beside: AbstractContextManager[None] = UNWATCHED,
) -> Run:
    """From publishing a message to the broker's confirm: its part of what a request takes.

    ``beside``: entered when the queue is in operation.
    """
    step = Step(rate, seconds)
    with stock.in_operation([step]) as begin, beside:
        run = _publish(stock, repetition, "open", "confirm", step, tools, begin)
    return run if run.refused else replace(run, refused=stock.shortage(0))


def confirm_beside_floor(
    stock: Stock, repetition: int, rate: float, seconds: float, tools: Tools
) -> Run:
    """As :func:`confirm`, while the floor answers as many requests: both parts of a publish on
    the same machine, with no gateway that puts them together."""
    floor: list[StepResult] = []
    step = Step(rate, seconds + MARGIN)
    answering = _floor_answering(stock.scenario, step, tools, floor.append)
    run = confirm(stock, repetition, rate, seconds, tools, answering)
    problem = refusal(floor[0]) or failing(floor[0].statuses)
    return replace(run, refused=f"the floor: {problem}") if problem and not run.refused else run


@contextmanager
def _floor_answering(
    scenario: Scenario, step: Step, tools: Tools, tell: Callable[[StepResult], object]
) -> Generator[None]:
    """It answers from before until after what is done meanwhile, if that is quicker than the
    step; then it is told."""
    _, floor = SERVERS["uvicorn"]
    with (
        running(floor, scenario, "", "", tools.folder) as process,
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
        answering = executor.submit(generator.run, plan, nobody, begun.set)
        answering.add_done_callback(lambda _: begun.set())  # also when there is no server
        begun.wait()
        yield
        tell(answering.result().steps[0])


def _publish(
    stock: Stock,
    repetition: int,
    mode: Mode,
    ends: Literal["tap", "confirm"],
    step: Step,
    tools: Tools,
    begin: Callable[[], object],
) -> Run:
    """By the generator, whose CPU is not told."""
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
    result = tools.generator.run(plan, tools.tell, begin)
    found = result.steps[0]
    run = Run(
        scenario=scenario.name,
        candidate=TAP,
        repetition=repetition,
        mode=mode,
        tool="own",
        seconds=found.seconds,
        requests=found.requests,
        rate=found.answered_in_time / found.seconds,
        statuses=found.statuses,
    )
    return with_step(run, found, found.requests)
