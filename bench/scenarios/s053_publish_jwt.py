"""As publish-transient, for clients with a token that is verified (RS256, keys from a file)."""

from __future__ import annotations

from pathlib import Path

from ..process import endpoint, producer
from ..scenario import BROKER, Call, Queue, Scenario

KEYS = Path(__file__).parents[1] / "keys"
TOKEN = (KEYS / "token.txt").read_text().strip()
"""It never expires; the private key is nowhere."""

SCENARIO = Scenario(
    name="publish-jwt",
    title="publish, transient, with a token (RS256)",
    endpoints=(
        endpoint(
            "/",
            producer(BROKER, "ex", delivery_mode=1),
            method="POST",
            extra_config={
                "auth/validator": {
                    "alg": "RS256",
                    "audience": ["bench"],
                    "roles": ["publisher"],
                    "jwk_local_path": str(KEYS / "jwks.json"),
                    "disable_jwk_security": True,
                }
            },
        ),
    ),
    queues=(Queue("q", is_full=False, routing_key="key"),),
    calls=(Call("POST", body_bytes=130, headers={"Authorization": f"Bearer {TOKEN}"}),),
)
