"""A prefetch of 500; consume-1 has 100."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="prefetch-500",
    title="consume, prefetch 500",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0", prefetch_count=500)),),
    queues=(Queue("bench-0"),),
)
