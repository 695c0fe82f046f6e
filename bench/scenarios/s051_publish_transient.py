"""Publish messages that the broker keeps in memory only, confirmed."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish-transient",
    title="publish, transient",
    endpoints=(endpoint("/", producer(BROKER, "ex", delivery_mode=1), method="POST"),),
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=130),),
)
