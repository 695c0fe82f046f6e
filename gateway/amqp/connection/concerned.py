"""Which endpoints and agents a connection or a channel is for, as lines of the log name them."""

from __future__ import annotations

MAX_SHOWN = 3
"""Names in one line."""


class Concerned:
    """Names such as ``GET /orders`` and ``agent mails``, in the order in which they came."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        if name:
            self._names[name] = None

    def after(self, word: str) -> str:
        """`` for GET /orders, GET /mails, agent a and 2 more``; "" without a name."""
        if not self._names:
            return ""
        shown = [*self._names][:MAX_SHOWN]
        if more := len(self._names) - len(shown):
            shown.append(f"{more} more")
        *first, last = shown
        return f" {word} {', '.join(first)} and {last}" if first else f" {word} {last}"
