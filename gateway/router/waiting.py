"""Waiting for a guard, before the body of a request is read, as long as its client is connected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio import CancelScope, current_time

from ..core.asgi import Message, Receive
from ..core.proxy import Client
from ..core.tasks import open_tasks
from ..errors import DeadlineExceeded
from .request import BodyError


async def wait_admitted(
    waiting: Awaitable[None], client: Client, receive: Receive, deadline: float
) -> Receive:
    """Wait for what a guard has returned. The body is to be read from what this returns.

    Raises what the guard raises, :class:`BodyError` if the client disconnects meanwhile, and
    :class:`DeadlineExceeded`.
    """
    with CancelScope(deadline=deadline) as waits:
        if client.watch(waits.cancel) is None:
            await waiting
            return receive
        early = Early(receive)
        async with open_tasks() as tasks:
            tasks.start_soon(early.watch, waits.cancel)
            await waiting
            tasks.cancel_scope.cancel()
        return early.receive
    if current_time() >= deadline:
        raise DeadlineExceeded
    raise BodyError(0)


class Early:
    """Notices that a client disconnects, for servers that show it only to ``receive``; keeps the
    messages that it receives. Of a body it receives only the first piece: a disconnect after that
    is noticed when the body is read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] = []

    async def watch(self, gone: Callable[[], object]) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                gone()
                return
            self._kept.append(message)
            if message.get("more_body", False):
                return

    async def receive(self) -> Message:
        return self._kept.pop(0) if self._kept else await self._receive()
