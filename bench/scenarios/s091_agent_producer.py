"""Agents: 50 workers publish the messages of a queue to another one, confirmed."""

from __future__ import annotations

from ..process import agent, producer
from ..scenario import BROKER, Queue, Scenario

SCENARIO = Scenario(
    name="agent-producer",
    title="agent, 50 workers to a producer",
    agents=(agent(BROKER, "bench-0", producer(BROKER, "ex"), workers=50, prefetch_count=100),),
    queues=(Queue("bench-0"), Queue("q", is_full=False, routing_key="key")),
    kind="agents",
)
