"""Computes the figures of a load from its recorded moments, after the load. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from .histogram import encoded
from .loops import ClosedLoop, OpenLoop, Timetable
from .plan import Plan, Slice, StepResult

SLICES = 25
"""Parts of a step."""


def step_results(load: Timetable, times: Sequence[Sequence[float]]) -> list[StepResult]:
    """One result for each step of the plan."""
    results = []
    begin, first = load.began, 0
    in_time = sorted(moment for moment in load.done if moment)
    spent = [later - earlier for earlier, later in pairwise(load.cpu)] + [0.0] * len(times)
    for step, offsets, cpu in zip(load.plan.steps, times, spent, strict=False):
        tickets = range(first, first + len(offsets))
        intended = [load.began + offset for offset in offsets]
        responded = [
            (start, load.done[ticket])
            for ticket, start in zip(tickets, intended, strict=True)
            if load.done[ticket]
        ]
        late = [
            load.fired[ticket] - start
            for ticket, start in zip(tickets, intended, strict=True)
            if load.fired[ticket]
        ]
        end = begin + step.seconds
        results.append(
            StepResult(
                offered=len(offsets) / step.seconds,
                seconds=step.seconds,
                requests=len(offsets),
                responded_in_time=sum(begin <= moment < end for moment in in_time),
                statuses=dict(Counter(load.statuses[ticket] for ticket in tickets)),
                latency=encoded(done - start for start, done in responded),
                lateness=encoded(late),
                longest_gap=longest_gap(
                    (load.done[ticket] for ticket in tickets if _is_success(load, ticket)),
                    begin,
                    end,
                ),
                cpu_share=cpu / step.seconds,
                slices=slices(responded, begin, step.seconds),
            )
        )
        begin, first = end, first + len(offsets)
    return results


def _is_success(load: Timetable, ticket: int) -> bool:
    return 200 <= load.statuses[ticket] < 300


def longest_gap(moments: Iterable[float], begin: float, end: float) -> float:
    """The longest time in seconds without one of ``moments``, from ``begin`` to ``end``."""
    ordered = [begin, *sorted(moments), end]
    return max(later - earlier for earlier, later in pairwise(ordered))


def slices(responded: Iterable[tuple[float, float]], begin: float, seconds: float) -> list[Slice]:
    """``responded``: when each request should have started, and when its response came."""
    length = seconds / SLICES
    responses = [0] * SLICES
    latencies: list[list[float]] = [[] for _ in range(SLICES)]
    for start, done in responded:
        latencies[min(int((start - begin) / length), SLICES - 1)].append((done - start) * 1e3)
        if done < begin + seconds:
            responses[min(int((done - begin) / length), SLICES - 1)] += 1
    return [
        Slice(round(count / length, 1), _part(ordered, 0.5), _part(ordered, 0.99))
        for count, ordered in zip(responses, map(sorted, latencies), strict=True)
    ]


def _part(ordered: Sequence[float], part: float) -> float:
    """The value that this part of the values does not exceed; 0 when there are none."""
    return round(ordered[math.ceil(part * len(ordered)) - 1], 3) if ordered else 0.0


def confirmed_numbers(load: OpenLoop) -> list[int]:
    """Numbers of requests that have one and whose response is a 2xx."""
    requests = load.plan.requests
    return [
        load.plan.first_number + ticket
        for ticket, which in enumerate(load.which)
        if requests[which].is_numbered and _is_success(load, ticket)
    ]


def closed_result(load: ClosedLoop, plan: Plan) -> StepResult:
    statuses = dict(load.statuses)
    if load.in_flight:
        statuses[0] = statuses.get(0, 0) + load.in_flight
    return StepResult(
        offered=0.0,
        seconds=plan.seconds,
        requests=sum(statuses.values()),
        responded_in_time=sum(moment < load.end for moment in load.moments),
        statuses=statuses,
        latency=encoded(load.latencies),
        lateness=encoded(()),
        longest_gap=longest_gap(load.moments, load.began, load.end),
        cpu_share=(load.cpu[1] - load.cpu[0]) / plan.seconds,
        slices=slices(
            [
                (done - latency, done)
                for done, latency in zip(load.moments, load.latencies, strict=True)
            ],
            load.began,
            plan.seconds,
        ),
    )
