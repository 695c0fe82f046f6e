"""Publish to a quorum queue (of one member here), confirmed."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish-quorum",
    title="publish, quorum queue",
    endpoints=(endpoint("/", producer(BROKER, "ex"), method="POST"),),
    queues=(Queue("q", is_full=False, routing_key="key", arguments={"x-queue-type": "quorum"}),),
    calls=(Call("POST", body_bytes=130),),
)
