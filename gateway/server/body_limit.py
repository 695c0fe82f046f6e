"""A limit on request bodies as an ASGI layer, for servers that have none."""

from __future__ import annotations

from typing import Any

TOO_LARGE = {
    "type": "http.response.start",
    "status": 413,
    "headers": [(b"content-length", b"0"), (b"connection", b"close")],
}


def limit_body(app: Any, limit: int) -> Any:
    """Refuse a body that announces more than ``limit`` bytes.

    What is not announced the application counts itself where it reads a body.
    """

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"content-length" and int(value) > limit:
                    await send(TOO_LARGE)
                    await send({"type": "http.response.body"})
                    return
        await app(scope, receive, send)

    return limited
