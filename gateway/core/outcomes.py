"""What became of the messages that a request has taken.

Only for requests that something observes for this. Others have a plain list.
"""

from __future__ import annotations

from collections.abc import Callable

from ..telemetry.logs import get_logger
from .proxy import TakenMessage

log = get_logger("gateway.core")

REJECTED, NACKED, UNCONFIRMED, UNROUTABLE = "rejected", "nacked", "unconfirmed", "unroutable"
PARKED, REQUEUED, CONFIRMED, ACKED = "parked", "requeued", "confirmed", "acked"
WORST_FIRST = (
    *(REJECTED, NACKED, UNCONFIRMED, UNROUTABLE),
    *(PARKED, REQUEUED, CONFIRMED, ACKED),
)
"""Outcomes of messages. A request has that of its messages which comes first here."""
EMPTY = "empty"
"""The outcome of a request that found an empty queue, and took no message."""


class MessageOutcomes(list[TakenMessage]):
    """The messages of a request (:attr:`.proxy.Request.taken`), and what became of them.

    An :class:`.proxy.OutcomeWatcher`. ``ids``: their message ids, as far as they have some.
    ``redelivered``: whether RabbitMQ has marked each consumed one as redelivered. ``found_empty``:
    a queue was empty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.redelivered: list[bool] = []
        self.found_empty = False
        self._outcomes: set[str] = set()
        self._unsettled = 0
        self._then: Callable[[], object] | None = None

    def append(self, message: TakenMessage) -> None:
        super().append(message)
        message.watch(self)

    def consumed(self, message_id: str, *, is_redelivered: bool) -> None:
        """A message of a queue is watched: it calls :meth:`settled` once."""
        self.published(message_id)
        self.redelivered.append(is_redelivered)

    def published(self, message_id: str) -> None:
        """A message to an exchange is watched, as above."""
        self._unsettled += 1
        if message_id:
            self.ids.append(message_id)

    def settled(self, outcome: str) -> None:
        """A message has ended so; "": it was not sent. Never raises: it is called where a message
        is settled."""
        self._outcomes.add(outcome)
        self._unsettled -= 1
        if not self._unsettled and self._then is not None:
            then, self._then = self._then, None
            try:
                then()
            except Exception:
                log.exception("an unexpected error after the messages of a request were settled")

    def when_settled(self, then: Callable[[], object]) -> None:
        """Call ``then`` when each message is settled: now, or later. Called once."""
        if self._unsettled:
            self._then = then
        else:
            then()

    @property
    def outcome(self) -> str:
        """Of the request; "": no message and no queue was concerned."""
        for each in WORST_FIRST:
            if each in self._outcomes:
                return each
        return EMPTY if self.found_empty else ""
