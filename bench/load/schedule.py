"""When requests should start. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .plan import Jitter, Request, Step


def start_times(steps: Sequence[Step], jitter: Jitter, seed: int) -> list[list[float]]:
    """For each step the intended starts, in seconds from the beginning of the first step.

    Each step has exactly ``rate * seconds`` of them. "none": evenly spaced; "uniform": each
    somewhere within its own interval; "poisson": independent of each other, as requests of many
    clients are (given their number, arrivals of a Poisson process are uniform over the step).
    """
    random = Random(seed)
    times: list[list[float]] = []
    begin = 0.0
    for step in steps:
        number = round(step.rate * step.seconds)
        interval = step.seconds / number if number else 0.0
        if jitter == "poisson":
            offsets = sorted(random.random() * step.seconds for _ in range(number))
        elif jitter == "uniform":
            offsets = [(each + random.random()) * interval for each in range(number)]
        else:
            offsets = [each * interval for each in range(number)]
        times.append([begin + offset for offset in offsets])
        begin += step.seconds
    return times


def mixed(requests: Sequence[Request], number: int, seed: int) -> list[int]:
    """Which request each of ``number`` is: an index, drawn by weight."""
    if len(requests) == 1:
        return [0] * number
    weights = [request.weight for request in requests]
    return Random(seed).choices(range(len(requests)), weights, k=number)
