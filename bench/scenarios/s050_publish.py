"""Publish persistent messages to a durable classic queue, confirmed by the broker."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish",
    title="publish, persistent",
    endpoints=(endpoint("/", producer(BROKER, "ex"), method="POST"),),
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=130),),
    is_default=True,
)
