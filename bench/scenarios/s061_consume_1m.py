"""Messages of 1 MiB from one queue."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SIZE = 1024 * 1024

SCENARIO = Scenario(
    name="consume-1m",
    title="consume, 1 MiB bodies",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0")),),
    queues=(Queue("bench-0", body_bytes=SIZE),),
    response_bytes=SIZE,
    connections=8,
)
