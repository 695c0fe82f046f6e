"""As publish-transient, for bodies that must fit a schema."""

from __future__ import annotations

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

SCENARIO = Scenario(
    name="publish-schema",
    title="publish, transient, with a JSON schema",
    endpoints=(
        endpoint(
            "/",
            producer(BROKER, "ex", delivery_mode=1),
            method="POST",
            extra_config={
                "validation/json-schema": {
                    "type": "object",
                    "required": ["id_0", "customer_0"],
                    "properties": {
                        "id_0": {"type": "integer", "minimum": 0},
                        "customer_0": {"type": "object", "required": ["mail"]},
                    },
                }
            },
        ),
    ),
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=130),),
)
