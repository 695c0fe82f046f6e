"""As publish-transient, for bodies that must fit a schema."""

from __future__ import annotations

from .s051_publish_transient import publish_transient

SCENARIO = publish_transient(
    "publish-schema",
    "publish, transient, with a JSON schema",
    guarded_by={
        "validation/json-schema": {
            "type": "object",
            "required": ["id_0", "customer_0"],
            "properties": {
                "id_0": {"type": "integer", "minimum": 0},
                "customer_0": {"type": "object", "required": ["mail"]},
            },
        }
    },
)
