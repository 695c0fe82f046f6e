"""A prefetch of 10; consume-1 has 100."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="prefetch-10",
    title="consume, prefetch 10",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0", prefetch_count=10)),),
    queues=(Queue("bench-0"),),
)
