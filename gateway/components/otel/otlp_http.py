"""HTTP connections of OpenTelemetry's exporters that can be ended while a response arrives.

The timeout of requests is that of one read. A collector that sends one byte after the other would
keep a report running for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import SHUT_RDWR, socket
from typing import Any
from weakref import WeakSet

from requests import Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import TooManyRedirects


class AbortableAdapter(HTTPAdapter):
    """As that of requests. It knows the sockets of its connections."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket] = WeakSet()
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **named: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **named)
        if pool.ConnectionCls.__module__ != __name__:
            pool.ConnectionCls = noted(pool.ConnectionCls, self._sockets.add)
        return pool

    def abort(self) -> None:
        """Read and written no more: what waits for a response gets an error. From any thread."""
        for each in list(self._sockets):
            try:
                socket.shutdown(each, SHUT_RDWR)  # not that of TLS, which would wait
            except OSError:  # it is closed
                continue


def noted(kind: type[Any], note: Callable[[socket], object]) -> type[Any]:
    """A class of connections: ``note`` gets the socket of each when it is open."""

    class NotedConnection(kind):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            note(self.sock)

    return NotedConnection


def refuse_redirect(response: Response, *args: Any, **named: Any) -> None:
    """The exporters do not follow a redirect, and would count it as a success."""
    if 300 <= response.status_code < 400:
        target = response.headers.get("location", "")
        response.close()
        raise TooManyRedirects(f"the collector redirects ({response.status_code}) to {target!r}")


def build_session() -> tuple[Session, Callable[[], None]]:
    """A session, and what ends its exchanges, from any thread."""
    session, adapter = Session(), AbortableAdapter()
    session.hooks["response"].append(refuse_redirect)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session, adapter.abort
