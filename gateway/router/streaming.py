"""Streaming responses (``no-op``): each piece of the body is sent when it arrives.

The headers are sent before the body breaks off. So the client can only learn that the response is
incomplete because its connection, or its stream of HTTP/2, is closed.
"""

from __future__ import annotations

from ..core.asgi import AsgiResponse, Send
from ..core.proxy import Client, StreamedBody
from ..core.tasks import open_tasks
from ..errors import GatewayError, ResponseBroken


async def send_streamed(
    send: Send, answer: AsgiResponse, stream: StreamedBody, client: Client
) -> None:
    """Send the headers of ``answer``, then ``stream``. A client that disconnects ends it.

    Raises :class:`ResponseBroken`.
    """
    watcher = client.watch(stream.give_back)
    try:
        if watcher is None:
            await _send(send, answer, stream)
            return
        async with open_tasks() as tasks:
            tasks.start_soon(watcher)
            await _send(send, answer, stream)
            tasks.cancel_scope.cancel()
    except GatewayError as error:
        if not client.is_gone:
            raise ResponseBroken(str(error)) from error


async def _send(send: Send, answer: AsgiResponse, stream: StreamedBody) -> None:
    status, headers, _ = answer
    if stream.length:
        headers = [*headers, (b"content-length", stream.length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while piece := await stream.next():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
