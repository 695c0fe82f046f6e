"""Says on standard error that a server of the log cannot be reached."""

from __future__ import annotations

import sys


class Losses:
    """Counts the lost lines of one server. ``server``: its name.

    Standard error says once that it cannot be reached, and how many lines were lost when it is
    back.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lost = 0

    def note(self, *, is_lost: bool) -> None:
        """A line was sent, or lost."""
        if is_lost:
            if not self._lost:
                self._say("cannot be reached: lines of the log are lost")
            self._lost += 1
        elif self._lost:
            self._say(f"is back: {self._lost} lines of the log were lost")
            self._lost = 0

    def _say(self, what: str) -> None:
        sys.stderr.write(f"{self._server} {what}\n")
        sys.stderr.flush()
