"""Messages of 10 KiB from one queue."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SIZE = 10 * 1024

SCENARIO = Scenario(
    name="consume-10k",
    title="consume, 10 KiB bodies",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0")),),
    queues=(Queue("bench-0", body_bytes=SIZE),),
    response_bytes=SIZE,
)
