"""Answers whose body is still coming (``no-op``): handed on piece by piece as they are read.

The head is sent already when such a body breaks off, so all that can be told then is that the
answer is not whole: the connection, or the stream of HTTP/2, is cut.
"""

from __future__ import annotations

from ..core.asgi import AsgiResponse, Send
from ..core.proxy import Client, Rest
from ..core.tasks import open_tasks
from ..errors import AnswerBroken, GatewayError


async def send_streamed(send: Send, answer: AsgiResponse, rest: Rest, client: Client) -> None:
    """Send the head of ``answer`` and then ``rest``. A client that goes ends it.

    Raises :class:`AnswerBroken`.
    """
    watcher = client.watch(rest.give_back)
    try:
        if watcher is None:
            await _send(send, answer, rest)
            return
        async with open_tasks() as tasks:
            tasks.start_soon(watcher)
            await _send(send, answer, rest)
            tasks.cancel_scope.cancel()
    except GatewayError as error:
        if not client.is_gone:
            raise AnswerBroken(str(error)) from error


async def _send(send: Send, answer: AsgiResponse, rest: Rest) -> None:
    status, headers, _ = answer
    if rest.length:
        headers = [*headers, (b"content-length", rest.length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while piece := await rest.next():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
