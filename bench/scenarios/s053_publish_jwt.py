"""As publish-transient, for clients with a token that is verified (RS256, keys from a file)."""

from __future__ import annotations

from pathlib import Path

from .s051_publish_transient import publish_transient

KEYS = Path(__file__).parents[1] / "keys"
TOKEN = (KEYS / "token.txt").read_text().strip()
"""It never expires; the private key is nowhere."""

SCENARIO = publish_transient(
    "publish-jwt",
    "publish, transient, with a token (RS256)",
    guarded_by={
        "auth/validator": {
            "alg": "RS256",
            "audience": ["bench"],
            "roles": ["publisher"],
            "jwk_local_path": str(KEYS / "jwks.json"),
            "disable_jwk_security": True,
        }
    },
    headers={"Authorization": f"Bearer {TOKEN}"},
)
