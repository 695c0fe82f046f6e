"""How many requests run at once (``max_requests``)."""

from __future__ import annotations

from ..core.asgi import text

TOO_MANY_REQUESTS_AT_ONCE = text(503, "", (b"retry-after", b"1"))


class Load:
    """``running``: requests that have no response yet. ``limit``: how many may run."""

    __slots__ = ("limit", "running")

    def __init__(self, limit: float) -> None:
        self.running = 0
        self.limit = limit
