"""A channel for messages that RabbitMQ may refuse. It finds out which message was refused.

RabbitMQ refuses a message by closing the channel, and does not say which message it was. So
Confirm.Select is sent after each message. RabbitMQ responds to it in order, when it has checked the
message, long before the message is on disk and confirmed. The first message without a response is
the one that was refused. Other messages use another channel, so that they are not affected.
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
"""Messages that are written and not checked yet, at most. When the channel closes, all of them but
one must be written again. So the bound is 1 at first and grows with each response."""


class QuarantineResult(NamedTuple):
    """The messages in flight when a quarantine was closed. ``accepted``: checked, not confirmed
    yet. ``refused``: the message for which the broker closed the channel. ``unchecked``: not
    processed by the broker."""

    accepted: list[Publication]
    refused: Publication | None
    unchecked: list[Publication]


class Quarantine(ConfirmChannel):
    """``key_accepted`` is called with the routing key of each message that passed the broker's
    check. ``max_unchecked``: messages that are written and not checked yet, at most."""

    def __init__(
        self,
        exchange: bytes,
        window: Window,
        settle: Settle,
        wake_up: Callable[[], None],
        key_accepted: Callable[[bytes], None],
        max_unchecked: int = MAX_UNCHECKED,
    ) -> None:
        super().__init__(exchange, window, settle, wake_up)
        self._key_accepted = key_accepted
        self._max_unchecked = max_unchecked
        self._unchecked: deque[tuple[int, Publication]] = deque()
        self._allowed_unchecked = 1

    def open(self, channel: int, connection: BrokerConnection) -> None:
        self._unchecked.clear()
        self._allowed_unchecked = 1
        super().open(channel, connection)

    def close_and_check(self) -> QuarantineResult:
        """Close the channel, and sort the messages in flight by the responses of the broker."""
        first = self._unchecked[0][0] if self._unchecked else None
        accepted, refused, unchecked = [], None, []
        for tag, publication in self.close().items():
            if first is None or tag < first:
                accepted.append(publication)
            elif tag == first:
                refused = publication
            else:
                publication.is_written = False
                unchecked.append(publication)
        return QuarantineResult(accepted, refused, unchecked)

    def processed(self) -> None:
        _, publication = self._unchecked.popleft()
        self._key_accepted(publication.routing_key)
        self._allowed_unchecked = min(self._allowed_unchecked + 1, self._max_unchecked)
        if self.waiting:
            self._write_waiting()

    def _can_write(self) -> bool:
        return len(self._unchecked) < self._allowed_unchecked and super()._can_write()

    def _write(self, publication: Publication) -> bool:
        if len(self._unchecked) >= self._allowed_unchecked:
            return False
        tag = self._tag
        if not super()._write(publication):
            return False
        if self._tag > tag and self.tap is not None:
            self._unchecked.append((self._tag, publication))
            self.tap.write(codec.confirm_select(self._channel))
        return True
