"""One message on its way to the broker, and the window that bounds how many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from msgspec import Struct

from ...core.proxy import Arrive, Part
from ...telemetry.logs import get_logger

log = get_logger("gateway.amqp")


class Outcome(Enum):
    """What the broker said of a message."""

    CONFIRMED = auto()
    REFUSED = auto()
    TOO_LARGE = auto()
    UNROUTABLE = auto()


class Withdrawing(Protocol):
    def withdraw(self, publication: Publication) -> None:
        """Do not write it any more."""


class Publication(Struct, eq=False):
    """A message for one exchange, not yet settled.

    It is a :class:`gateway.core.proxy.TakenMessage` of its request.

    ``properties``: flags and values of a content header. ``arrive`` is called at most once, where
    the gateway runs, with what ``answer``, which never raises, makes of the broker's word.
    ``is_written``: the broker may have it. ``is_over``: settled or withdrawn; it must not be
    written (again). ``goes_on``: though nobody waits for it. ``reason``: why it was refused.
    """

    publisher: Withdrawing
    routing_key: bytes
    properties: bytes
    body: bytes
    message_id: bytes
    is_mandatory: bool
    answer: Callable[[Publication, Outcome], Part]
    arrive: Arrive
    is_written: bool = False
    is_over: bool = False
    goes_on: bool = False
    reason: str = ""

    def settle(self, outcome: Outcome) -> None:
        """App side: the broker has spoken. Never raises."""
        if not self.is_over:
            self.is_over = True
            try:
                self.arrive(self.answer(self, outcome))
            except Exception:  # this runs in the connection's callback: of this message alone
                log.exception("while answering the request of a published message")

    def acknowledge(self) -> None:
        """App side: the client has the answer; there is nothing to be done."""

    def park(self) -> None:
        """App side: no answer is made of a publication."""

    def give_back(self) -> None:
        """App side: nobody waits any more, so what is not written yet will not be published.

        ``is_written`` may be trusted afterwards: who writes sets it first and then looks at
        ``is_over``.
        """
        if not self.is_over and not self.goes_on:
            self.is_over = True
            self.publisher.withdraw(self)


class Window:
    """Bounds the messages that are written to one exchange and not confirmed yet.

    Who finds it full is called, in turn, when a place is free.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, go_on: Callable[[], None]) -> bool:
        """One place; False when there is none, then ``go_on`` is called later."""
        if self._free > 0:
            self._free -= 1
            return True
        if go_on not in self._waiting:
            self._waiting.append(go_on)
        return False

    def release(self, number: int = 1) -> None:
        self._free += number
        while self._waiting and self._free > 0:
            self._waiting.popleft()()
