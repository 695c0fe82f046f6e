"""The generator as a process: it reads plans from standard input, one a line, and writes progress
and then the result of each to standard output.

python -m bench.load.generator < plans.jsonl
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import uvloop
from msgspec import json

from ..priority import raise_priority, restore_priority
from .loops import ClosedLoop, Confirmed, Delivered, Load, OpenLoop, Timetable, Waiting
from .outcome import closed_result, confirmed_numbers, step_results
from .plan import Failure, LoadResult, Plan, Progress, StepResult
from .schedule import start_times

PROGRESS_INTERVAL = 0.25


async def generate(plan: Plan, on_progress: Callable[[Progress], object]) -> LoadResult:
    """Run the plan. Raises OSError when there is no server."""
    if plan.mode == "closed":
        closed = ClosedLoop(plan)
        await _run(closed, on_progress)
        return _result([closed_result(closed, plan)], closed, closed.confirmed)
    times = start_times(plan.steps, plan.jitter, plan.seed)
    flat = [moment for step in times for moment in step]
    if plan.mode == "open":
        load = OpenLoop(plan, flat)
        await _run(load, on_progress)
        return _result(step_results(load, times), load, confirmed_numbers(load))
    if plan.mode == "confirm":
        async with _confirming(plan, flat) as confirmed:
            await _run(confirmed, on_progress)
            return _result(step_results(confirmed, times), confirmed, [])
    async with _open_publisher(plan) as publish:
        async with _waiting(plan, flat, publish) as waiting:
            await _run(waiting, on_progress)
            return _result(step_results(waiting, times), waiting, [])


def _result(steps: list[StepResult], load: Load, confirmed: list[int]) -> LoadResult:
    return LoadResult(steps, [int(number) for number in load.found], confirmed)


async def _run(load: Load, on_progress: Callable[[Progress], object]) -> None:
    """Until the load is over."""
    loop = asyncio.get_running_loop()
    await load.connect()
    gc.collect()
    gc.disable()
    if isinstance(load, Timetable):
        raise_priority()
    on_progress(Progress(0, 0))
    load.begin()
    reporter = loop.create_task(_keep_reporting(load, on_progress))
    try:
        await load.over.wait()
    finally:
        restore_priority()
        gc.enable()
        reporter.cancel()
        load.close()


async def _keep_reporting(load: Load, on_progress: Callable[[Progress], object]) -> None:
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL)
        on_progress(Progress(load.responses, load.failures))


@asynccontextmanager
async def _waiting(
    plan: Plan, times: list[float], publish: Callable[[int], object]
) -> AsyncGenerator[Waiting | Delivered]:
    if plan.mode == "waiting":
        yield Waiting(plan, times, publish)
        return
    from pamqp.commands import Basic

    from gateway.amqp.wire import codec

    from ..reading import opened_channel

    assert plan.publish is not None
    url, _, queue = plan.publish
    async with opened_channel(url) as (connection, channel):
        number, write = channel.number, connection.tap.write
        sink = Delivered(plan, times, publish, lambda tag: write(codec.ack(number, tag)))
        connection.tap.receiver.sinks[number] = sink
        await channel.rpc(Basic.Consume(queue=queue))
        yield sink


@asynccontextmanager
async def _open_publisher(plan: Plan) -> AsyncGenerator[Callable[[int], object]]:
    from ..fill import open_filler
    from ..messages import message

    assert plan.publish is not None
    url, exchange, routing_key = plan.publish
    async with open_filler(url) as filler:
        yield lambda number: filler.put(exchange, routing_key, [message(0, number)])


@asynccontextmanager
async def _confirming(plan: Plan, times: list[float]) -> AsyncGenerator[Confirmed]:
    from ..publishing import open_publishing

    assert plan.publish is not None
    url, _, routing_key = plan.publish
    load = Confirmed(plan, times)
    async with open_publishing(url, routing_key, plan.delivery_mode, load.on_confirm) as publishing:
        load.publish = publishing.publish
        yield load


def main() -> None:
    # Not sys.stdout: with PYTHONUNBUFFERED one write may write only a part.
    output = open(1, "wb", closefd=False)  # noqa: SIM115

    def write(message: Progress | LoadResult | Failure) -> None:
        output.write(json.encode(message) + b"\n")
        output.flush()

    for line in sys.stdin.buffer:
        try:
            write(uvloop.run(generate(json.decode(line, type=Plan), write)))
        except OSError as error:
            write(Failure(str(error)))


if __name__ == "__main__":
    main()
