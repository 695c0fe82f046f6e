"""A prefetch of 1; consume-1 has 100."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="prefetch-1",
    title="consume, prefetch 1",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0", prefetch_count=1)),),
    queues=(Queue("bench-0"),),
)
