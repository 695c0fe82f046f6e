"""Agents: 50 workers hand the messages of a queue to an HTTP backend."""

from __future__ import annotations

from ..process import agent
from ..scenario import BROKER, HTTP, Queue, Scenario

SCENARIO = Scenario(
    name="agent-http",
    title="agent, 50 workers to HTTP",
    agents=(
        agent(
            BROKER,
            "bench-0",
            {"host": [HTTP], "url_pattern": "/take", "method": "POST"},
            workers=50,
            prefetch_count=100,
        ),
    ),
    queues=(Queue("bench-0"),),
    kind="agents",
)
