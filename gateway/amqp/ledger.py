"""Which delivery tags of one channel are outstanding, and which frames settle them. Pure.

An acknowledgement with ``multiple`` covers every outstanding tag up to its own, so it may only
be sent when all of these are settled. It must name a tag that is still outstanding: RabbitMQ
closes the channel otherwise (406, unknown delivery tag).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from . import wire


class Ledger:
    """The tags of one channel, which RabbitMQ numbers from 1 on. They die with the channel.

    Outstanding is everything from ``_front`` to ``last``, the last tag that was delivered, and
    before that the few that were passed by others (``_passed``, in order).
    """

    def __init__(self, channel: int) -> None:
        self.last = 0
        self._channel = channel
        self._front = 1
        self._passed: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._passed) + self.last - self._front + 1

    def acknowledge(self, tags: Collection[int]) -> Iterable[bytes]:
        """Frames that acknowledge ``tags``: one for those in front, one for each other."""
        if not self._passed and tags:
            last = max(tags)
            if min(tags) >= self._front and last - self._front + 1 == len(tags):
                self._front = last + 1
                return (wire.ack(self._channel, last, multiple=len(tags) > 1),)
        settled = self._settle(tags)
        first = next(iter(self._passed), self._front)
        in_front = [tag for tag in settled if tag < first]
        frames = [wire.ack(self._channel, tag) for tag in settled if tag > first]
        if in_front:
            frames.insert(0, wire.ack(self._channel, in_front[-1], multiple=len(in_front) > 1))
        return frames

    def reject(self, tag: int, requeue: bool) -> bytes:
        """The frame that rejects ``tag``; nothing when it is settled already."""
        return wire.reject(self._channel, tag, requeue) if self._settle((tag,)) else b""

    def _settle(self, tags: Iterable[int]) -> list[int]:
        """Those of ``tags`` that were outstanding, in order; they are not any more."""
        settled = []
        for tag in sorted(tags):
            if self._front <= tag <= self.last:
                self._passed.update(dict.fromkeys(range(self._front, tag)))
                self._front = tag + 1
            elif tag in self._passed:
                del self._passed[tag]
            else:
                continue
            settled.append(tag)
        return settled
