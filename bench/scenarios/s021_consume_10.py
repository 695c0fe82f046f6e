"""Ten queues merged into one answer."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="consume-10",
    title="consume, 10 queues",
    endpoints=(endpoint("/", *(consumer(BROKER, f"bench-{n}") for n in range(10))),),
    queues=tuple(Queue(f"bench-{n}") for n in range(10)),
    takes=10,
    is_default=True,
)
