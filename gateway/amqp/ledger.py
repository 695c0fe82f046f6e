"""Which delivery tags of one channel are outstanding, and which frames settle them. Pure.

An acknowledgement with ``multiple`` covers every outstanding tag up to its own, so it may only
be sent when all of these are settled. It must name a tag that is still outstanding: RabbitMQ
closes the channel otherwise (406, unknown delivery tag).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from . import wire


class Ledger:
    """The tags of one channel, in the order of delivery. They die with the channel."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._outstanding: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._outstanding)

    def deliver(self, tag: int) -> None:
        self._outstanding[tag] = None

    def acknowledge(self, tags: Iterable[int]) -> Iterator[bytes]:
        """Frames that acknowledge ``tags``: one for those in front, one for each other."""
        outstanding = self._outstanding
        settled: set[int] = set()
        first = next(iter(outstanding), None)
        last = covered = 0
        for tag in tags:  # most come in the order of delivery
            if tag == first:
                del outstanding[tag]
                last, covered = tag, covered + 1
                first = next(iter(outstanding), None)
            elif tag in outstanding:
                settled.add(tag)
        while first in settled:
            assert first is not None
            del outstanding[first]
            settled.discard(first)
            last, covered = first, covered + 1
            first = next(iter(outstanding), None)
        if covered:
            yield wire.ack(self._channel, last, multiple=covered > 1)
        for tag in sorted(settled & outstanding.keys()):
            del outstanding[tag]
            yield wire.ack(self._channel, tag)

    def reject(self, tag: int, requeue: bool) -> bytes:
        """The frame that rejects ``tag``; nothing when it is settled already."""
        if tag not in self._outstanding:
            return b""
        del self._outstanding[tag]
        return wire.reject(self._channel, tag, requeue)
