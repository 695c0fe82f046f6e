"""As publish-transient, counted by two limits that are never reached."""

from __future__ import annotations

from .s051_publish_transient import publish_transient

SCENARIO = publish_transient(
    "publish-limited",
    "publish, transient, with rate limits",
    guarded_by={
        "qos/ratelimit/router": {
            "max_rate": 1_000_000,
            "client_max_rate": 1_000_000,
            "strategy": "ip",
        }
    },
)
