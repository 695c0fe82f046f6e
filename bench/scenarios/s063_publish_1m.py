"""Messages of 1 MiB, published and confirmed."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish-1m",
    title="publish, 1 MiB bodies",
    endpoints=(endpoint("/", producer(BROKER, "ex"), method="POST"),),
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=1024 * 1024),),
    connections=8,
)
