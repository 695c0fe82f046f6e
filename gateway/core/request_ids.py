"""Request ids: each request has one header ``x-request-id``, and its response has the same.

Only the header is known here. What reads it: the forwarding of headers, the log.
"""

from __future__ import annotations

import os
import re

from ..telemetry.logs import get_logger
from .asgi import (
    AddedHeaders,
    ASGIApp,
    AsgiResponse,
    Headers,
    Receive,
    Scope,
    Send,
    find_header,
    with_headers,
)
from .direct import (
    Application,
    ClientAround,
    DirectClient,
    DirectHead,
    DirectRequest,
    FindDirect,
    HeadAround,
)

log = get_logger("gateway.core")

REQUEST_ID = b"x-request-id"
REQUEST_ID_NAMES = frozenset({REQUEST_ID})
ID_BYTES = 16
"""Random bytes of an id, as in a UUID. An id has two hexadecimal digits for each."""
_VALID = re.compile(rb"[\w.:/+=@~-]{1,128}", re.ASCII)
"""An id of a client. No quotes and no angle brackets: a backend may write it into a page."""


def new_id() -> bytes:
    """A random id of 32 hexadecimal digits."""
    return os.urandom(ID_BYTES).hex().encode()


def valid_id(headers: Headers) -> bytes:
    """The client's id; b"" if it sent none, or one that is not valid."""
    value = find_header(headers, REQUEST_ID)
    return value if _VALID.fullmatch(value) else b""


def with_id(scope: Scope, request_id: bytes) -> Scope:
    """A copy of the scope with this id only."""
    headers = [header for header in scope["headers"] if header[0] != REQUEST_ID]
    headers.append((REQUEST_ID, request_id))
    return {**scope, "headers": headers}


def _response_header(request_id: bytes) -> AddedHeaders:
    return AddedHeaders([(REQUEST_ID, request_id)], REQUEST_ID_NAMES)


def identified(application: Application) -> Application:
    """The application, whose requests and responses have ids.

    The client's id is used if it is valid. Otherwise the request gets a new one.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request_id = valid_id(scope["headers"]) or new_id()
            scope = with_id(scope, request_id)
            send = with_headers(send, _response_header(request_id))
        await application(scope, receive, send)

    find = application.direct
    if find is None:
        return Application(app, None)

    def direct(scope: Scope) -> DirectHead | None:
        sent = valid_id(scope["headers"])
        request_id = sent or new_id()
        head = find(with_id(scope, request_id))
        if head is None:
            return None
        identified_head = _IdentifiedHead(head, _response_header(request_id))
        # Equal heads have equal ids if the client sent one.
        return identified_head if sent else _UnidentifiedHead(identified_head, scope, find, app)

    return Application(app, direct)


class _IdentifiedHead(HeadAround):
    """Requests whose head has an id. A :class:`gateway.core.direct.DirectHead`."""

    __slots__ = ("_added", "_head")

    def __init__(self, head: DirectHead, added: AddedHeaders) -> None:
        super().__init__(head)
        self._head = head
        self._added = added

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        return self._head.begin(body, _IdentifiedClient(client, self._added))


class _UnidentifiedHead(HeadAround):
    """Requests whose head has no id. Each gets an id, and with it a head of its own.

    A :class:`gateway.core.direct.DirectHead`. ``head``: of the first request. ``app``: handles a
    request in a task.
    """

    __slots__ = ("_app", "_find", "_first", "_scope")

    def __init__(self, head: DirectHead, scope: Scope, find: FindDirect, app: ASGIApp) -> None:
        super().__init__(head)
        self._first: DirectHead | None = head
        self._scope = scope
        self._find = find
        self._app = app

    def begin(self, body: bytes, client: DirectClient) -> DirectRequest | None:
        first, self._first = self._first, None
        if first is not None:
            return first.begin(body, client)
        request_id = new_id()
        try:
            head = self._find(with_id(self._scope, request_id))
        except Exception:
            log.exception("an error in the application")
            client.fail()
            return None
        if head is None:  # a layer that responds to some ids only
            client.run(self._app)
            return None
        return head.begin(body, _IdentifiedClient(client, _response_header(request_id)))


class _IdentifiedClient(ClientAround, eq=False):
    """The client of a request, whose response gets the id. ``added``: the header with it."""

    added: AddedHeaders

    def respond(self, response: AsgiResponse) -> None:
        status, headers, body = response
        self.client.respond(AsgiResponse(status, self.added.around(headers), body))

    def fail(self) -> None:
        self.client.fail()

    def run(self, app: ASGIApp) -> None:
        added = self.added

        async def identified_app(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, with_headers(send, added))

        self.client.run(identified_app)
