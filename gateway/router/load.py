"""How many requests run at once (``max_requests``)."""

from __future__ import annotations

from ..core.asgi import text

TOO_MANY_REQUESTS_AT_ONCE = text(503, "", (b"retry-after", b"1"))


class Load:
    """``running``: requests that have no response yet. ``limit``: how many may run. ``refused``:
    how many were refused until now, because so many ran."""

    __slots__ = ("limit", "refused", "running")

    def __init__(self, limit: float) -> None:
        self.running = self.refused = 0
        self.limit = limit
