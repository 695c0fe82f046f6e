"""The broker closes every connection in the middle: how long until answers come again?"""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="drop",
    title="connections dropped: recovery",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0")),),
    queues=(Queue("bench-0"),),
    kind="recovery",
    rate=300,
)
