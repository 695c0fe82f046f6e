"""The requests of one connection that need no task, one after the other."""

from __future__ import annotations

from collections.abc import Callable

from ...core.asgi import ASGIApp, AsgiResponse, Scope
from ...core.direct import DirectHead, DirectRequest
from .cycle import INTERNAL_ERROR, STOPPING, Cycle, HttpConnection


class DirectCycle(Cycle):
    """A request that has no task. A :class:`gateway.core.direct.DirectClient`.

    A connection uses one object for all its direct requests: it has one request at a time.
    """

    __slots__ = ("_head", "_request", "_scope")

    def __init__(self, connection: HttpConnection) -> None:
        super().__init__(connection, is_head=False, keep_alive=True)
        self._head: DirectHead | None = None
        self._request: DirectRequest | None = None
        self._scope: Scope = {}

    # Called by the protocol.

    def start(self, head: DirectHead, scope: Scope, *, is_head: bool, keep_alive: bool) -> None:
        """The head of a request is complete."""
        self._head = head
        self._scope = scope
        self.is_head = is_head
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.response_started = self.response_complete = False

    def end_body(self) -> None:
        """The request is complete."""
        self.more_body = False
        head, self._head = self._head, None
        if head is not None and not self.disconnected:
            self._request = head.begin(bytes(self.body), self)

    def lost(self) -> None:
        self.disconnected = True
        self._withdraw()

    def stop(self) -> None:
        """The grace period is over."""
        if self.more_body or self._request is not None:
            self._withdraw()
            self._head = None
            self.keep_alive = False
            self.respond(STOPPING)

    def _withdraw(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.withdraw()

    # Called by the gateway.

    def watch(self, gone: Callable[[], object]) -> None:
        """The connection withdraws the request when the client disconnects."""

    def respond(self, response: AsgiResponse) -> None:
        if self.disconnected:
            return
        status, headers, body = response
        written = self._begin(status, headers, len(body))
        self.response_started = True
        self.body = b""  # this object stays while the connection is idle
        self._request = None
        self._finish(written if self.is_head else written + body)
        if not self.keep_alive:
            self._connection.end_soon()

    def fail(self) -> None:
        self.respond(INTERNAL_ERROR)

    def run(self, app: ASGIApp) -> None:
        self._request = None
        self._connection.run(app, self._scope, self)
