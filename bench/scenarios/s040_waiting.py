"""Clients wait on an empty queue: from publishing a message to its answer."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="waiting",
    title="empty queue: publish to response",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0")),),
    queues=(Queue("bench-0", is_full=False),),
    kind="waiting",
    rate=500,
    is_default=True,
)
