"""One queue, one message an answer: the main job."""

from __future__ import annotations

from ..process import consumer, endpoint
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="consume-1",
    title="consume, 1 queue",
    endpoints=(endpoint("/", consumer(BROKER, "bench-0")),),
    queues=(Queue("bench-0"),),
    is_default=True,
)
