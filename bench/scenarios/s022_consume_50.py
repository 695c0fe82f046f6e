"""Fifty queues merged into one answer."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="consume-50",
    title="consume, 50 queues",
    endpoints=(endpoint("/", *(consumer(BROKER, f"bench-{n}") for n in range(50))),),
    queues=tuple(Queue(f"bench-{n}") for n in range(50)),
    takes=50,
)
