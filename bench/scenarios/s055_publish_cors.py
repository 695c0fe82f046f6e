"""As publish-transient, for clients of another origin."""

from __future__ import annotations

from .s051_publish_transient import publish_transient

SCENARIO = publish_transient(
    "publish-cors",
    "publish, transient, with CORS",
    service={"security/cors": {"allow_origins": ["https://bench.example"]}},
    headers={"Origin": "https://bench.example"},
)
