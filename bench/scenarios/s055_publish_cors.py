"""As publish-transient, for clients of another origin."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish-cors",
    title="publish, transient, with CORS",
    endpoints=(
        endpoint(
            "/",
            producer(BROKER, "ex", delivery_mode=1),
            method="POST",
        ),
    ),
    extra_config={"security/cors": {"allow_origins": ["https://bench.example"]}},
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=130, headers={"Origin": "https://bench.example"}),),
)
