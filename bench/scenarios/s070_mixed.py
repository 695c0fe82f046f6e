"""Half of the requests publish, half of them consume, on queues of their own."""

from __future__ import annotations

from ..process import consumer, endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="mixed",
    title="publish and consume, mixed",
    endpoints=(
        endpoint("/take", consumer(BROKER, "bench-0")),
        endpoint("/put", producer(BROKER, "ex"), method="POST"),
    ),
    queues=(Queue("bench-0"), Queue("q", is_full=False, routing_key="key")),
    calls=(Call("GET", "/take"), Call("POST", "/put", body_bytes=130)),
)
