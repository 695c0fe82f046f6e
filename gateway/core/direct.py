"""Requests without a task: what a server and the router know of each other.

A server that can hold a request without a task asks :attr:`Application.direct` for the head of a
request, once for equal heads. It gets a :class:`DirectHead`, or None: then the request needs a
task, and the server calls the ASGI application. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol, TypeAlias

from msgspec import Struct

from .asgi import ASGIApp, AsgiResponse, Receive, Scope, Send
from .proxy import Arrival, Client


class DirectClient(Client, Protocol):
    """The client of one direct request, as its server shows it."""

    def respond(self, response: AsgiResponse) -> None:
        """Write the whole response. Called once. Raises if a header is not valid; then nothing is
        written."""

    def fail(self) -> None:
        """Respond as the server does if an application raises an error."""

    def when_arrived(self, arrival: Arrival) -> object:
        """Report whether the response arrives, now or later."""

    def run(self, app: ASGIApp) -> None:
        """Continue this request in a task: call ``app`` with the request. Called instead of
        ``respond``."""


class DirectRequest(Protocol):
    """One request that runs, until it has responded."""

    def withdraw(self) -> None:
        """The client has disconnected, or the server has responded in its place. Must not raise."""


class DirectHead(Protocol):
    """All requests with one head. ``reads_body``: the request must have its body when it begins.
    ``has_guards``: a request may be refused without its body. ``endpoint_path``: as in
    the configuration; "" if there is no endpoint."""

    @property
    def endpoint_path(self) -> str: ...

    @property
    def reads_body(self) -> bool: ...

    @property
    def has_guards(self) -> bool: ...

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        """Handle a request whose body is complete. Never raises. It may respond before this
        returns; then, and when it continues in a task, this returns None."""
        ...


class HeadAround:
    """What a :class:`DirectHead` has that is around another one."""

    __slots__ = ("endpoint_path", "has_guards", "reads_body")

    def __init__(self, head: DirectHead) -> None:
        self.endpoint_path = head.endpoint_path
        self.reads_body = head.reads_body
        self.has_guards = head.has_guards


class ClientAround(Struct, eq=False):
    """What a :class:`DirectClient` has that is around another one, and changes only responses."""

    client: DirectClient

    @property
    def is_gone(self) -> bool:
        return self.client.is_gone

    def watch(
        self, gone: Callable[[], object]
    ) -> Callable[[], Coroutine[object, object, None]] | None:
        return self.client.watch(gone)

    def when_arrived(self, arrival: Arrival) -> object:
        return self.client.when_arrived(arrival)


FindDirect: TypeAlias = Callable[[Scope], DirectHead | None]
"""The scope has no values but those of the head and the connection."""


class Application:
    """An ASGI application, with ``direct`` for servers that know it. None: every request needs a
    task."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], direct: FindDirect | None
    ) -> None:
        self._app = app
        self.direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
