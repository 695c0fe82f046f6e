"""Messages of 10 KiB, published and confirmed."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish-10k",
    title="publish, 10 KiB bodies",
    endpoints=(endpoint("/", producer(BROKER, "ex"), method="POST"),),
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=10 * 1024),),
)
