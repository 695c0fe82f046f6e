"""How many unsettled messages a channel of a subscription may have."""

from __future__ import annotations

from sys import maxsize

from msgspec import Struct

from ..settings import MAX_PREFETCH
from .subscription_channel import SubscriptionChannel


class AttachmentSettings(Struct, frozen=True, kw_only=True):
    """What decides when a queue has a consumer, and with which prefetch.

    ``max_prefetch``: the largest number of unsettled messages that are not sent. ``max_bytes``:
    bound of the unsettled messages. ``idle_return``: seconds without a request until it is idle;
    ``inf``: never. ``idle_prefetch``: of the consumer while it is idle; 0: there is none.
    ``is_permanent``: there is always a consumer, with the largest prefetch. ``is_replaceable``: a
    new consumer can take the place of the old one. ``may_fetch``: Basic.Get takes the message that
    a consumer would get.
    """

    max_prefetch: int
    max_bytes: int
    idle_return: float
    idle_prefetch: int
    is_permanent: bool
    is_replaceable: bool
    may_fetch: bool

    @property
    def max_unsent(self) -> int | None:
        """As of :class:`.subscription_channel.SubscriptionChannel`: sent messages raise the
        prefetch only where the consumer is replaced as requests need."""
        return self.max_prefetch if self.is_replaceable and not self.is_permanent else None


class Bounds:
    """The bounds of a channel at present."""

    def __init__(self, settings: AttachmentSettings, deliveries: SubscriptionChannel) -> None:
        self._settings = settings
        self._deliveries = deliveries

    @property
    def prefetch(self) -> int:
        """The largest prefetch: ``max_prefetch`` and the raise; smaller when messages are so large
        that they would exceed ``max_bytes``."""
        return min(self._raised_prefetch, self._most_by_size, MAX_PREFETCH)

    @property
    def room(self) -> int:
        """The largest prefetch of a new consumer, which gets its messages in addition to those that
        are unsettled now. 0 while ``max_prefetch`` messages are not sent.

        It contains the whole raise, for the messages that are sent next. So for about a round trip
        to the clients there may be more than ``max_prefetch`` messages that are not sent: as many
        more as the raise. Requests hold ``max_prefetch`` of them, the others are in the buffer.
        """
        in_use, unsent = self._deliveries.in_use, self._deliveries.in_use_unsent
        if unsent >= self._settings.max_prefetch:
            return 0
        most = min(self._raised_prefetch - unsent, self._most_by_size - in_use, MAX_PREFETCH)
        return max(0, most)

    @property
    def _raised_prefetch(self) -> int:
        return self._settings.max_prefetch + self._deliveries.prefetch_raise.size

    @property
    def _most_by_size(self) -> int:
        """How many of the largest messages ``max_bytes`` allows; at least one."""
        if not self._settings.is_replaceable:
            return maxsize
        return max(1, self._settings.max_bytes // self._deliveries.largest_message)
