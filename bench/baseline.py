"""The baseline: a minimal ASGI application, which runs on the same server as the gateway.

It reads the body of a request that has one, and responds with BASELINE_BYTES bytes.
"""

from __future__ import annotations

import os
from typing import Any

from .messages import SMALL, message

BODY = message(0, 1_000_000_000, int(os.environ.get("BASELINE_BYTES", SMALL)))
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
]
EMPTY_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"2")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": EMPTY_HEADERS})
        await send({"type": "http.response.body", "body": b"{}"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
