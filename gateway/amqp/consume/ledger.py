"""Which delivery tags of one channel are outstanding, and which frames settle them. Pure.

A frame with ``multiple`` covers every outstanding tag up to its own, so it may only be sent when
all of these are settled in the same way. It must name a tag that is still outstanding: RabbitMQ
closes the channel otherwise (406, unknown delivery tag).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Protocol

from ..wire import codec


class Settlement(Protocol):
    """:func:`gateway.amqp.wire.codec.ack` or :func:`gateway.amqp.wire.codec.nack`."""

    def __call__(self, channel: int, tag: int, multiple: bool = False) -> bytes: ...


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
        return self._frames(tags, codec.ack)

    def requeue(self, tags: Collection[int]) -> Iterable[bytes]:
        """Frames that return ``tags`` to the queue, in the same way."""
        return self._frames(tags, codec.nack)

    def requeue_all(self) -> bytes:
        """The frame that returns every outstanding message; empty when there is none."""
        if not len(self):
            return b""
        last = self.last if self._front <= self.last else next(reversed(self._passed))
        self._front = self.last + 1
        self._passed.clear()
        return codec.nack(self._channel, last, multiple=True)

    def reject(self, tag: int) -> bytes:
        """The frame that rejects ``tag``; empty when it is settled already."""
        return codec.reject(self._channel, tag) if self._settle((tag,)) else b""

    def _frames(self, tags: Collection[int], settlement: Settlement) -> Iterable[bytes]:
        if not self._passed and tags:
            last = max(tags)
            if min(tags) >= self._front and last - self._front + 1 == len(tags):
                self._front = last + 1
                return (settlement(self._channel, last, multiple=len(tags) > 1),)
        settled = self._settle(tags)
        first = next(iter(self._passed), self._front)
        in_front = [tag for tag in settled if tag < first]
        frames = [settlement(self._channel, tag) for tag in settled if tag > first]
        if in_front:
            several = len(in_front) > 1
            frames.insert(0, settlement(self._channel, in_front[-1], multiple=several))
        return frames

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
