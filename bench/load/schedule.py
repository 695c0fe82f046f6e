"""When requests should start. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .plan import Jitter, Request, Step


def start_times(steps: Sequence[Step], jitter: Jitter, seed: int) -> list[list[float]]:
    """For each step the intended starts, in seconds from the beginning of the first step.

    Each step has exactly ``rate * seconds`` starts. "none": evenly spaced. "uniform": each at a
    random moment of its own interval. "poisson": independent of each other, like requests of many
    clients (for a given number of arrivals, a Poisson process is uniform over the step).
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
    """The index of the request for each of ``number`` starts, at random by weight."""
    if len(requests) == 1:
        return [0] * number
    weights = [request.weight for request in requests]
    return Random(seed).choices(range(len(requests)), weights, k=number)
