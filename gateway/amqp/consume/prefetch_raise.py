"""By how much the messages that are sent raise the prefetch of a queue. Pure.

A message is *sent* when its response is written, and only the client's acknowledgement of the last
byte is missing. It stays unsettled for a round trip to the client, and must not use up the
prefetch: with a round trip of 100 ms and a prefetch of 10, only 100 messages a second would pass.
"""

from __future__ import annotations

RAISE_KEPT_TIME = 2.0
"""Seconds. The raise becomes smaller when the messages that were sent at one time were less than
half of it for this time. Each change is a new consumer."""


class PrefetchRaise:
    """``size``: so many messages more than ``prefetch_count`` may be unsettled. It is 0 or a power
    of two, so that it changes rarely while the number of sent messages changes all the time.

    ``time``: seconds of any monotonic clock. The numbers of sent messages are those that are sent
    and not settled.
    """

    def __init__(self, time: float) -> None:
        self.size = 0
        self._counted_since = time

    def grow(self, sent: int) -> None:
        """All credit is in use and requests wait, while so many messages are sent."""
        self.size = max(self.size, _power_of_two(sent))

    def note(self, time: float, most_sent: int) -> bool:
        """``most_sent``: the largest number since this method returned true. True: it has been used
        to make the raise smaller, and has to be counted anew."""
        if time - self._counted_since < RAISE_KEPT_TIME:
            return False
        self._counted_since = time
        needed = _power_of_two(most_sent)
        if 2 * needed < self.size:
            self.size = needed
        return True


def _power_of_two(number: int) -> int:
    """The smallest one that is not below ``number``; 0 for 0."""
    return 1 << (number - 1).bit_length() if number else 0
