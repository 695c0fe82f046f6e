"""A channel for messages that the broker may refuse by closing it: nothing else is in flight there.

Behind each message Confirm.Select is asked for once more. RabbitMQ answers it when it has checked
the message, long before the message is on disk and confirmed, and in order. So the first message
without an answer is the one that has closed the channel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ..connection.link import BrokerConnection
from ..wire import codec
from .confirm_channel import ConfirmChannel, Settle
from .publication import Publication, Window

MAX_UNCHECKED = 100
"""Messages whose answers are awaited at the same time. When the channel closes all of them but one
are written again, so it begins with one and grows with each answer."""


class Checked(NamedTuple):
    """How a channel ended. ``taken``: what the broker has checked and not confirmed; ``refused``:
    what closed the channel; ``rest``: what it has not looked at."""

    taken: list[Publication]
    refused: Publication | None
    rest: list[Publication]


class Quarantine(ConfirmChannel):
    """``took`` is called with the routing key of each message that the broker has taken. ``most``:
    messages whose answers are awaited at the same time, at most."""

    def __init__(
        self,
        exchange: bytes,
        window: Window,
        settle: Settle,
        wake_up: Callable[[], None],
        took: Callable[[bytes], None],
        most: int = MAX_UNCHECKED,
    ) -> None:
        super().__init__(exchange, window, settle, wake_up)
        self._took = took
        self._most = most
        self._unchecked: deque[tuple[int, Publication]] = deque()
        self._allowed = 1

    def open(self, channel: int, connection: BrokerConnection) -> None:
        self._unchecked.clear()
        self._allowed = 1
        super().open(channel, connection)

    def check(self) -> Checked:
        """Close; what the broker's answers say of each message."""
        first = self._unchecked[0][0] if self._unchecked else None
        taken, refused, rest = [], None, []
        for tag, publication in self.close().items():
            if first is None or tag < first:
                taken.append(publication)
            elif tag == first:
                refused = publication
            else:
                publication.is_written = False
                rest.append(publication)
        return Checked(taken, refused, rest)

    def processed(self) -> None:
        _, publication = self._unchecked.popleft()
        self._took(publication.routing_key)
        self._allowed = min(self._allowed + 1, self._most)
        if self.waiting:
            self._pump()

    def _can_write(self) -> bool:
        return len(self._unchecked) < self._allowed and super()._can_write()

    def _write(self, publication: Publication) -> bool:
        if len(self._unchecked) >= self._allowed:
            return False
        tag = self._tag
        if not super()._write(publication):
            return False
        if self._tag > tag and self.tap is not None:
            self._unchecked.append((self._tag, publication))
            self.tap.write(codec.confirm_select(self._channel))
        return True
