"""What observers are told of a request, made by hand."""

from __future__ import annotations

from gateway.core.asgi import Headers
from gateway.core.proxy import Request


class Seen:
    """A :class:`gateway.core.observed.Observation`."""

    def __init__(self, request: Request | None = None, headers: Headers = ()) -> None:
        self.request = request
        self.headers = headers


NOT_SEEN = Seen()
"""Of a request that no endpoint has got."""
