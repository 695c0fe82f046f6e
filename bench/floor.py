"""The floor: the least an ASGI application can do, on the same server."""

from __future__ import annotations

from typing import Any

BODY = b'{"id":1234567,"name":"widget","price":12.5,"tags":["a","b","c"],"customer":{"id":77}}'
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
