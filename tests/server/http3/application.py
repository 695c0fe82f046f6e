"""What tests of HTTP/3 serve."""

from __future__ import annotations

from typing import Any

from anyio import Event, sleep

from gateway.core.asgi import Receive, Scope, Send
from gateway.errors import ResponseBroken
from gateway.router.lifespan import answer_lifespan
from gateway.server import Limits, ServeSettings

from ..client import note_arrival, server_tls

LIMITS = Limits(header_bytes=20_000, body_bytes=300_000, answer_time=0.5)
SETTINGS = ServeSettings(limits=LIMITS, grace=1, tls=server_tls(), http3=True)


class Application:
    """Answers what it may with what it has read, and writes down whether the answer has left."""

    def __init__(self) -> None:
        self.answer = b""
        self.left: list[bool] = []
        self.gone: list[str] = []
        self.scopes: list[Any] = []
        self.begun, self.may_answer = Event(), Event()
        self.may_answer.set()
        self.reads = True
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        self.scopes.append(scope)
        client = self.client
        client.watch(lambda: self.gone.append(scope["path"]))
        body, more = b"", self.reads
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.begun.set()
        await self.may_answer.wait()
        answer = body + self.answer
        headers = [(b"content-length", b"%d" % len(answer)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self.error is not None:
            if isinstance(self.error, ResponseBroken):
                await send({"type": "http.response.body", "body": answer, "more_body": True})
            raise self.error
        await send({"type": "http.response.body", "body": answer})
        await note_arrival(client, self.left.append)

    @property
    def client(self) -> Any:
        return self.scopes[-1]["extensions"]["gateway.connection"]

    async def decided(self) -> list[bool]:
        while not self.left:
            await sleep(0.01)
        return self.left
