"""A message to be published, and the window that bounds how many messages are unconfirmed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from msgspec import Struct

from ...core.outcomes import CONFIRMED, NACKED, UNCONFIRMED, UNROUTABLE
from ...core.proxy import Arrive, OutcomeWatcher, Part
from ...telemetry.logs import get_logger

log = get_logger("gateway.amqp")


class Outcome(Enum):
    """The result of publishing a message. TOO_LARGE: above the broker's ``max_message_size``.
    UNROUTABLE: mandatory, and routed to no queue."""

    CONFIRMED = auto()
    REFUSED = auto()
    TOO_LARGE = auto()
    UNROUTABLE = auto()


NAMES = {
    Outcome.CONFIRMED: CONFIRMED,
    Outcome.REFUSED: NACKED,
    Outcome.TOO_LARGE: NACKED,
    Outcome.UNROUTABLE: UNROUTABLE,
}
"""How an :class:`OutcomeWatcher` hears of the outcomes."""


class PublicationOwner(Protocol):
    def withdraw(self, publication: Publication) -> None:
        """Do not write this publication; if it is written already, forget it."""


class Publication(Struct, eq=False):
    """A message for one exchange, until it is confirmed, refused or withdrawn.

    Its life: it waits in a :class:`~gateway.amqp.publish.confirm_channel.ConfirmChannel` until it
    can be written, is written, and is in flight until the broker confirms or refuses it. When the
    channel ends before that, the message waits again and is written on the next channel.

    It is a :class:`gateway.core.proxy.TakenMessage` of its request.

    ``properties``: flags and values of a content header. ``respond`` makes the part of the response
    from the outcome and must not raise. ``arrive`` is called with this part, at most once, on the
    app side.
    ``is_written``: the broker may have it. ``is_over``: settled or withdrawn; it must not be
    written again. ``is_abandoned``: its client has gone, but it is still to be published.
    ``reason``: why it was refused.
    """

    publisher: PublicationOwner
    routing_key: bytes
    properties: bytes
    body: bytes
    message_id: bytes
    is_mandatory: bool
    respond: Callable[[Publication, Outcome], Part]
    arrive: Arrive
    is_written: bool = False
    is_over: bool = False
    is_abandoned: bool = False
    reason: str = ""
    watcher: OutcomeWatcher | None = None

    @property
    def shown_id(self) -> str:
        return self.message_id.decode(errors="replace")

    def settle(self, outcome: Outcome) -> None:
        """App side: the outcome is known. Never raises."""
        if not self.is_over:
            self.is_over = True
            try:
                self.arrive(self.respond(self, outcome))
            except Exception:  # runs in a callback of the connection: other messages must go on
                log.exception("unexpected error in the response to a published message")

    def sent(self) -> None:
        """App side: there is nothing to do, it uses no prefetch."""

    def acknowledge(self) -> None:
        """App side: the client has the response. There is nothing to do."""

    def park(self) -> None:
        """App side: there is nothing to do, a publication is not retried."""

    def give_back(self) -> None:
        """App side: the request is over. The message is not published if it is not written yet.

        ``is_written`` is final after this call: the asyncio side sets it before it reads
        ``is_over``.
        """
        if self.is_over:
            return
        if not self.is_abandoned:
            self.is_over = True
            self.publisher.withdraw(self)
        if self.watcher is not None:
            self.watcher.settled(UNCONFIRMED if self.is_written else "")

    def watch(self, watcher: OutcomeWatcher) -> None:
        """App side: a message whose client has gone counts as not confirmed, although it is still
        published."""
        self.watcher = watcher
        respond = self.respond

        def responded(publication: Publication, outcome: Outcome) -> Part:
            watcher.settled(NAMES[outcome])
            return respond(publication, outcome)

        self.respond = responded
        watcher.published(self.shown_id)


class Window:
    """Bounds the unconfirmed messages of one exchange.

    When it is full, channels that want to write are queued. They are called in this order as
    confirms free places.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, retry: Callable[[], None]) -> bool:
        """Take one place. False when all are taken: ``retry`` is called when one is free."""
        if self._free > 0:
            self._free -= 1
            return True
        if retry not in self._waiting:
            self._waiting.append(retry)
        return False

    def release(self, number: int = 1) -> None:
        """Free so many places."""
        self._free += number
        while self._waiting and self._free > 0:
            self._waiting.popleft()()
