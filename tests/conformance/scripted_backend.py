"""An HTTP backend that answers as a case's script says, and writes down what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from anyio import Event

from gateway.server import ServeSettings, serve
from gateway.server.sockets import open_sockets


class ScriptedBackend:
    """``script``: path -> answers (status, json or body, headers, delay); the last one repeats."""

    def __init__(self, script: dict[str, list[dict[str, Any]]]) -> None:
        self._script = script
        self._asked: Counter[str] = Counter()
        self._requests: list[dict[str, Any]] = []
        self._active = self._peak = 0
        self._stop = Event()
        self._serving: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        sockets = open_sockets("127.0.0.1", 0, answer_time=60)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        settings = ServeSettings(grace=1)
        self._serving = asyncio.create_task(
            serve(self._answer, settings, stop=self._stop, sockets=sockets)
        )

    async def stop(self) -> None:
        self._stop.set()
        if self._serving is not None:
            await self._serving

    def seen(self, path: str | None) -> dict[str, Any]:
        """The requests to ``path``, or all, in order."""
        requests = [each for each in self._requests if path in (None, each["path"].split("?")[0])]
        return {
            "count": len(requests),
            "bodies": [each["body"] for each in requests],
            "requests": requests,
            "peak": self._peak,
        }

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"]
        query = scope["query_string"].decode()
        self._requests.append(
            {
                "method": scope["method"],
                "path": f"{path}?{query}" if query else path,
                "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
                "body": body.decode(errors="replace"),
            }
        )
        plan = self._script.get(path) or [{"status": 404}]
        answer = plan[min(self._asked[path], len(plan) - 1)]
        self._asked[path] += 1
        self._active += 1
        self._peak = max(self._peak, self._active)
        await asyncio.sleep(answer.get("delay", 0))
        self._active -= 1
        content = json.dumps(answer["json"]) if "json" in answer else answer.get("body", "")
        headers = {"Content-Type": "application/json", **answer.get("headers", {})}
        await send(
            {
                "type": "http.response.start",
                "status": answer.get("status", 200),
                "headers": [
                    (name.lower().encode(), value.encode()) for name, value in headers.items()
                ],
            }
        )
        await send({"type": "http.response.body", "body": content.encode()})
