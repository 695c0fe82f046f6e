"""As publish-transient, counted by two limits that are never reached."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish-limited",
    title="publish, transient, with rate limits",
    endpoints=(
        endpoint(
            "/",
            producer(BROKER, "ex", delivery_mode=1),
            method="POST",
            extra_config={
                "qos/ratelimit/router": {
                    "max_rate": 1_000_000,
                    "client_max_rate": 1_000_000,
                    "strategy": "ip",
                }
            },
        ),
    ),
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=130),),
)
