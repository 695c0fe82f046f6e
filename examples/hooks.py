"""Functions that a configuration calls: examples/hooks.json.

gateway run -c examples/hooks.json
"""

from __future__ import annotations

import hashlib
import hmac

from gateway.hooks import HookRequest, HookResponse, Refused

TENANTS = {"acme", "globex"}
KEY = b"not a real one"


def only_known_tenants(request: HookRequest) -> HookResponse | None:
    """A hook may refuse, answer by itself, or let the request go on."""
    if request.headers.get("x-tenant") not in TENANTS:
        raise Refused(403)
    if request.params["Id"] == "nobody":
        return HookResponse({"name": "nobody"}, headers={"X-Answered-By": "a hook"})
    return None


async def sign(request: HookRequest) -> None:
    """Only the backend it stands on sees the header, whatever input_headers lists."""
    signature = hmac.new(KEY, request.params["Id"].encode(), hashlib.sha256)
    request.headers["x-signature"] = signature.hexdigest()


def redact(request: HookRequest, response: HookResponse) -> None:
    """A field less, a header more."""
    if response.data is not None:
        response.data.get("customer", {}).pop("iban", None)
    response.headers["x-redacted"] = "iban"
