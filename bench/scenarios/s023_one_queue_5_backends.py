"""Five backends on one queue: five messages an answer."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="one-queue-5",
    title="consume, 5 backends on one queue",
    endpoints=(
        endpoint("/", *({**consumer(BROKER, "bench-0"), "group": f"b{n}"} for n in range(5))),
    ),
    queues=(Queue("bench-0"),),
    takes=5,
)
