"""When connections are looked at, in virtual time."""

from __future__ import annotations

import asyncio

from gateway.server.http1.arrival_sweep import ArrivalSweep
from gateway.testing.virtual_time import VirtualTimeLoop


class Output:
    """Arrives at a time, in seconds after it was added."""

    def __init__(self, arrives: float) -> None:
        self.looks: int | None = None
        self.seen: list[float] = []
        self._arrives = asyncio.get_running_loop().time() + arrives

    def sweep(self, now: float) -> bool:
        self.seen.append(round(now, 3))
        return now < self._arrives


def looks(arrives: float) -> list[float]:
    """Seconds after the response, at which the connection is looked at."""

    async def wait() -> list[float]:
        loop = asyncio.get_running_loop()
        began, sweep, output = loop.time(), ArrivalSweep(), Output(arrives)
        sweep.add(output)
        while output.looks is not None:
            await asyncio.sleep(0.001)
        return [round(seen - began, 3) for seen in output.seen]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(wait())


def test_a_response_that_arrives_at_once_is_looked_at_once() -> None:
    assert looks(0.0) == [0.005]


def test_a_delayed_acknowledgement_needs_two_looks() -> None:
    assert looks(0.04) == [0.005, 0.045]


def test_the_time_between_looks_grows_to_100_ms() -> None:
    assert looks(0.3) == [0.005, 0.045, 0.105, 0.205, 0.305]


def test_outputs_that_are_added_later_have_their_own_times() -> None:
    async def add_two() -> list[list[float]]:
        sweep, first, second = ArrivalSweep(), Output(0.2), Output(0.2)
        sweep.add(first)
        await asyncio.sleep(0.0501)
        sweep.add(second)
        await asyncio.sleep(1)
        assert (first.looks, second.looks) == (None, None)
        return [first.seen, second.seen]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        first, second = runner.run(add_two())
    assert [round(each - first[0], 3) for each in second[:3]] == [0.05, 0.09, 0.15]


def test_no_timer_runs_while_nothing_waits() -> None:
    async def rest() -> int:
        loop = asyncio.get_running_loop()
        sweep, output = ArrivalSweep(), Output(0.0)
        sweep.add(output)
        await asyncio.sleep(0.02)
        assert output.looks is None
        return len(loop._scheduled)  # type: ignore[attr-defined]

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(rest()) == 0
