"""The generator measures servers correctly whose latency is known.

A busy machine makes every latency longer and none shorter: bounds are lower ones.
"""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from msgspec.structs import replace

from bench.load.histogram import added, percentiles
from bench.load.outcome import SLICES, slices
from bench.load.own import LoadError, open_generator
from bench.load.plan import Plan, Step, StepResult
from bench.load.validity import failing, refusal

from .fake import GET, load, serving

RATE, SECONDS = 200.0, 1.0
STALL = 0.5


def longer_than(step: StepResult, seconds: float) -> int:
    """How many responses took longer."""
    histogram = added([step.latency])
    each = histogram.get_recorded_iterator()
    return sum(
        item.count_at_value_iterated_to for item in each if item.value_iterated_to > seconds * 1e6
    )


def test_every_tenth_response_is_slow_and_is_measured_so() -> None:
    result, _ = load(
        lambda number: 0.2 if number % 10 == 9 else 0.0,
        mode="open",
        steps=[Step(RATE, SECONDS)],
    )
    step = result.steps[0]
    assert step.statuses == {200: 200}
    assert longer_than(step, 0.199) >= 20
    seen = percentiles(step.latency)
    assert seen is not None
    assert seen.p50 < 200 <= seen.p99


def test_a_stall_is_felt_by_every_request_that_was_due_meanwhile() -> None:
    """Coordinated omission: connections that wait send nothing, clients do not wait for them."""
    began: list[float] = []

    def stalled(number: int) -> float:
        """The whole server stalls for half a second, a quarter second after its start."""
        now = time.monotonic()
        began.append(now)
        into = now - began[0] - 0.25
        return STALL - into if 0 <= into < STALL else 0.0

    open_loop, _ = load(stalled, mode="open", steps=[Step(RATE, SECONDS)], connections=4)
    due_in_the_first_part = round(RATE * (STALL - 0.1))
    assert longer_than(open_loop.steps[0], 0.1) >= due_in_the_first_part - 2
    assert percentiles(open_loop.steps[0].latency).p90 >= 300  # type: ignore[union-attr]

    began.clear()
    closed, _ = load(stalled, mode="closed", seconds=SECONDS, connections=4)
    assert closed.steps[0].requests > 20
    assert longer_than(closed.steps[0], 0.3) >= 4


def test_a_generator_that_stalls_is_refused() -> None:
    """The fake server blocks the event loop of the generator: both stall."""

    def sleep(number: int) -> float:
        if number == 10:
            time.sleep(0.3)
        return 0.0

    result, _ = load(sleep, mode="open", steps=[Step(RATE, SECONDS)])
    assert "late" in refusal(result.steps[0])


def test_a_generator_that_uses_its_whole_core_is_refused() -> None:
    result, _ = load(lambda number: 0.0, mode="open", steps=[Step(20, 0.2)])
    assert "of a core" in refusal(replace(result.steps[0], cpu_share=0.95))


def test_each_step_has_the_cpu_that_was_used_in_it() -> None:
    """The fake server computes on the loop of the generator."""

    def compute(number: int) -> float:
        end = time.process_time() + (0.02 if number >= 4 else 0.0)
        while time.process_time() < end:
            pass
        return 0.0

    result, _ = load(compute, mode="open", steps=[Step(20, 0.2), Step(20, 0.4)])
    idle, busy = (step.cpu_share for step in result.steps)
    assert busy > 2 * idle


@pytest.mark.parametrize(
    ("statuses", "problem"),
    [
        ({200: 99, 204: 900, 503: 10}, ""),
        ({200: 100, 500: 2}, "2 of 102 requests failed"),
        ({0: 5}, "5 of 5 requests failed"),
        ({}, ""),
    ],
)
def test_a_server_that_fails_is_not_measured(statuses: dict[int, int], problem: str) -> None:
    assert failing(statuses) == problem


def test_responses_that_never_come_are_counted() -> None:
    result, _ = load(
        lambda number: 60.0 if number == 3 else -1.0 if number == 5 else 0.0,
        mode="open",
        steps=[Step(50, 0.2)],
        patience=1.0,
    )
    assert result.steps[0].statuses == {200: 8, 0: 2}


def test_each_step_is_a_result_of_its_own() -> None:
    result, progress = load(
        lambda number: 0.0, mode="open", steps=[Step(50, 0.3), Step(100, 0.3)], jitter="poisson"
    )
    assert [step.requests for step in result.steps] == [15, 30]
    assert [step.offered for step in result.steps] == [50, 100]
    assert progress
    assert progress[-1].failed == 0


def test_a_closed_loop_keeps_every_connection_busy() -> None:
    result, _ = load(lambda number: 0.05, mode="closed", seconds=0.4, connections=8)
    step = result.steps[0]
    assert step.offered == 0
    assert set(step.statuses) == {200}
    assert longer_than(step, 0.049) == step.requests


def test_the_longest_gap_between_responses_is_known() -> None:
    result, _ = load(
        lambda number: 0.4 if 10 <= number < 50 else 0.0, mode="open", steps=[Step(100, 0.6)]
    )
    assert result.steps[0].longest_gap >= 0.3


def test_a_load_over_time_shows_when_the_server_stalled() -> None:
    """It stalls in the second half of the load."""
    result, _ = load(
        lambda number: 0.4 if number >= 50 else 0.0, mode="open", steps=[Step(100, 1.0)]
    )
    parts = result.steps[0].slices
    length = 1.0 / len(parts)
    assert sum(part.rate * length for part in parts) <= 61
    assert all(part.p50 >= 399 for part in parts[len(parts) * 3 // 4 :])


def test_the_parts_of_a_load_have_its_responses_and_percentiles() -> None:
    """A hundred requests in the first part, one of them slow; none in the others."""
    responded = [(10.0, 10.001)] * 98 + [(10.0, 10.5), (10.0, 11.5)]
    first, *others = slices(responded, begin=10.0, seconds=1.0)
    assert (first.p50, first.p99) == (1.0, 500.0)
    assert first.rate == 98 * SLICES
    assert [part.rate for part in others if part.rate] == [SLICES]
    assert {(part.p50, part.p99) for part in others} == {(0, 0)}


def test_numbers_in_responses_and_in_requests_are_reported() -> None:
    result, _ = load(
        lambda number: 0.0,
        lambda number: b'{"id_0":%d}' % (1000 + number),
        mode="open",
        steps=[Step(50, 0.2)],
        collects=True,
    )
    assert sorted(result.received) == list(range(1000, 1010))


def test_one_process_serves_many_plans_and_says_when_there_is_no_server() -> None:
    plan = Plan(port=1, requests=[GET], mode="closed", seconds=0.1)
    with open_generator() as generator:
        for _ in range(2):
            with pytest.raises(LoadError, match=r"Connect|refused"):
                generator.run(plan)


def test_a_result_of_many_numbers_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger than a pipe, from a process without buffers of its own."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    numbers = b",".join(b'"id_0":%d' % each for each in range(500))
    ready: list[int] = []
    stop = threading.Event()

    async def serve() -> None:
        async with serving(lambda number: 0.0, lambda number: b"{%b}" % numbers) as port:
            ready.append(port)
            while not stop.is_set():
                await asyncio.sleep(0.01)

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    try:
        while not ready:
            time.sleep(0.01)
        plan = Plan(
            port=ready[0], requests=[GET], mode="open", steps=[Step(100, 0.5)], collects=True
        )
        with open_generator() as generator:
            assert len(generator.run(plan).received) == 50 * 500
    finally:
        stop.set()
        server.join()
