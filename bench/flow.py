"""Keeps queues in a steady state during a load: publishes as many messages as the load consumes,
and consumes what the load publishes.

python -m bench.flow: reads a plan from standard input, one line, and writes "ready". An empty line
starts the flow. At the end of the input it writes the result and exits.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial

import uvloop
from msgspec import Struct, json

from .fill import Filler, open_filler, ready
from .load.own import LoadError
from .load.plan import Step
from .messages import message
from .reading import opened_channel, reading

TICK = 0.004
"""Seconds between two batches."""


class Feed(Struct, frozen=True):
    """``queue`` receives messages of ``body_bytes`` with numbers from ``first`` on.
    ``series``: the queue's index, see :func:`bench.messages.message`."""

    queue: str
    series: int
    first: int
    body_bytes: int


class FlowPlan(Struct, frozen=True):
    """``steps``: messages a second for each queue of ``feeds``. ``reads``: queues that are consumed
    as fast as they fill."""

    url: str
    feeds: list[Feed]
    reads: list[str]
    steps: list[Step]


class Flowed(Struct, frozen=True):
    """``fed``: messages that each queue received. ``behind``: by step, the largest number of
    messages that were due and not yet published. ``read``: numbers that were consumed and
    acknowledged."""

    fed: int
    behind: list[int]
    read: list[int]


def step_at(steps: Sequence[Step], elapsed: float) -> int:
    """Index of the current step; of the last one when all are over."""
    for index, step in enumerate(steps):
        elapsed -= step.seconds
        if elapsed < 0:
            return index
    return len(steps) - 1


def due(steps: Sequence[Step], elapsed: float) -> int:
    """Messages that should have been published ``elapsed`` seconds after the start."""
    total = 0.0
    for step in steps:
        total += step.rate * min(max(elapsed, 0.0), step.seconds)
        elapsed -= step.seconds
    return int(total + 1e-6)


class Feeder:
    """Publishes the same number of messages to each of ``feeds`` until it ``is_over``."""

    def __init__(self, filler: Filler, feeds: Sequence[Feed], steps: Sequence[Step]) -> None:
        self.fed = 0
        self.behind = [0] * len(steps)
        self.is_over = False
        self._filler = filler
        self._feeds = feeds
        self._steps = steps
        self._bodies = [partial(message, feed.series, size=feed.body_bytes) for feed in feeds]

    async def feed(self) -> None:
        """Returns when the broker has put all messages into the queues."""
        began = time.monotonic()
        while not self.is_over:
            elapsed = time.monotonic() - began
            wanted = due(self._steps, elapsed)
            if wanted > self.fed:
                step = step_at(self._steps, elapsed)
                self.behind[step] = max(self.behind[step], wanted - self.fed)
                for feed, body in zip(self._feeds, self._bodies, strict=True):
                    numbers = range(feed.first + self.fed, feed.first + wanted)
                    self._filler.put("", feed.queue, map(body, numbers))
                self.fed = wanted
                await self._filler.drained()
            await asyncio.sleep(TICK)
        for feed in self._feeds:
            await ready(self._filler.channel, feed.queue)


async def flow(plan: FlowPlan, lines: asyncio.StreamReader) -> Flowed:
    """Run the plan, from "ready" to the end of ``lines``."""
    async with AsyncExitStack() as stack:
        filler = await stack.enter_async_context(open_filler(plan.url))
        connection, channel = await stack.enter_async_context(opened_channel(plan.url))
        found = await stack.enter_async_context(reading(connection, channel, plan.reads))
        feeder = Feeder(filler, plan.feeds, plan.steps)
        print("ready", flush=True)
        if await lines.readline():
            feeding = asyncio.create_task(feeder.feed())
            await lines.read()
            feeder.is_over = True
            await feeding
    return Flowed(feeder.fed, feeder.behind, found.numbers)


async def _serve() -> Flowed:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    plan = json.decode(await lines.readline(), type=FlowPlan)
    return await flow(plan, lines)


def main() -> None:
    flowed = uvloop.run(_serve())
    # Not sys.stdout: with PYTHONUNBUFFERED one write may write only a part.
    with open(1, "wb", closefd=False) as output:
        output.write(json.encode(flowed))


class Flow:
    """The harness's side of the process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def prepare(self, plan: FlowPlan) -> None:
        """Returns when the process is ready and already consumes from the queues of ``reads``."""
        self._write(json.encode(plan) + b"\n")
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise LoadError(f"the process of the flow exited with {self._process.wait()}")

    def begin(self) -> None:
        """Call this when the load begins. :meth:`end` raises when the process has exited."""
        with suppress(BrokenPipeError):
            self._write(b"\n")

    def end(self) -> Flowed:
        """Call this when the load is over. Raises :class:`LoadError`."""
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise LoadError(f"the process of the flow exited with {self._process.returncode}")
        return json.decode(output, type=Flowed)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


@contextmanager
def open_flow() -> Generator[Flow]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.flow"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Flow(process)
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    main()
