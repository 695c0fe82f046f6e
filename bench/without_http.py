"""The broker's limit: what clients that speak AMQP get of a scenario's queues."""

from __future__ import annotations

import subprocess
import sys

from msgspec import json

from .direct import Direct
from .document import Run, with_step
from .load.plan import Plan, Step
from .measure import cpu_seconds
from .messages import PUBLISHED
from .queues import Stock
from .scenario import EXCHANGE, Scenario
from .session import Tools

LIMITS = {"consume-1": "consume", "publish": "publish"}
"""Scenarios beside which clients are run, and what they do."""

CLIENTS = {"aiormq": 40_000, "tap": 120_000}
"""And more messages a second than each takes."""


def clients_beside(scenario: Scenario) -> list[str]:
    if scenario.kind == "waiting":
        return [scenario.floor]
    return list(CLIENTS) if scenario.name in LIMITS else []


def run_client(name: str, stock: Stock, repetition: int, seconds: float, tools: Tools) -> Run:
    """As many messages as it can take, or publish; see ``direct.py``."""
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
        refused="a queue ran empty" if stock.full and not stock.least() else "",
    )


def deliver(stock: Stock, repetition: int, rate: float, seconds: float, tools: Tools) -> Run:
    """From publishing a message to its delivery: the floor of clients that wait for it. Its CPU is
    the generator's, which is not told."""
    scenario = stock.scenario
    plan = Plan(
        port=0,
        requests=[],
        mode="tap",
        steps=[Step(rate, seconds)],
        connections=0,
        jitter=tools.jitter,
        first_number=PUBLISHED,
        publish=(stock.url, EXCHANGE, scenario.target),
    )
    result = tools.generator.run(plan, tools.tell)
    step = result.steps[0]
    run = Run(
        scenario=scenario.name,
        candidate=scenario.floor,
        repetition=repetition,
        mode="waiting",
        tool="own",
        seconds=step.seconds,
        requests=step.requests,
        rate=step.answered_in_time / step.seconds,
        statuses=step.statuses,
    )
    return with_step(run, step, result.cpu_share, step.requests)
