"""Counts the messages that use the prefetch of a consumer: its credit. Pure."""

from __future__ import annotations

from collections.abc import Callable

from .ledger import Ledger

MARK_INTERVAL = 0.005
"""Seconds between two marks, at least."""

MAX_MARK_AGE = 4 * MARK_INTERVAL
"""Seconds. Messages that were settled in about this time count as using their credit still: the
broker needs a moment to send others in their place."""


class Credit:
    """The credit of the present consumer of a channel.

    Unsettled messages that came before it, or by Basic.Get, use none of its credit. ``prefetch``: 0
    without a consumer. ``can_grow``: the prefetch may become larger; otherwise :meth:`is_short`
    need not be called, which saves time on the hot path. ``time``: a monotonic clock, in seconds.
    """

    def __init__(self, ledger: Ledger, time: Callable[[], float]) -> None:
        self.prefetch = 0
        self.can_grow = False
        self._ledger = ledger
        self._last_uncounted = 0
        self._time = time
        self._marks = (0.0, 0), (0.0, 0)

    def consumer_started(self, prefetch: int, *, can_grow: bool) -> None:
        self.prefetch = prefetch
        self.can_grow = can_grow
        self.counts_from_now()

    def counts_from_now(self) -> None:
        """Messages that have been delivered until now use no credit."""
        self._last_uncounted = self._ledger.last

    @property
    def is_used_up(self) -> bool:
        """Whether the broker sends no further message before one is settled."""
        return self._unsettled >= self.prefetch

    def is_short(self, unserved: int, arriving: int = 0) -> bool:
        """Whether a larger prefetch would have served the requests sooner.

        All credit is in use, or the broker has just got it back. And requests still wait
        (``unserved``) when the ``arriving`` messages are taken; or one had to wait for a message
        that came in place of a settled one.
        """
        is_refill = self._ledger.last - self._last_uncounted > self.prefetch
        if unserved <= (0 if is_refill else arriving):
            return False
        since, settled = self._marks[0]
        is_recent = self._time() - since < MAX_MARK_AGE
        just_settled = self._ledger.settled - settled if is_recent else 0
        return self._unsettled + just_settled >= self.prefetch

    def note_settled(self) -> None:
        """Messages were settled."""
        now = self._time()
        if now - self._marks[1][0] >= MARK_INTERVAL:
            self._marks = self._marks[1], (now, self._ledger.settled)

    @property
    def _unsettled(self) -> int:
        return self._ledger.unsettled_after(self._last_uncounted)
