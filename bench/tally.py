"""What clients received in one session, to be compared with the messages left on the broker."""

from __future__ import annotations

from collections.abc import Iterable

from .accounting import Accounting, combined, consumed, published
from .queues import Stock
from .scenario import Scenario


class Tally:
    """``received``: numbers in successful responses, or in requests to an HTTP backend.
    ``confirmed``: numbers in publishing requests that succeeded.

    ``unidentified``: count of successful responses to wrk and k6, which do not report numbers.
    ``possibly_taken``: count of requests that may have been in flight when wrk disconnected.
    """

    def __init__(self, received: Iterable[int] = (), confirmed: Iterable[int] = ()) -> None:
        self.received = list(received)
        self.confirmed = list(confirmed)
        self.unidentified = 0
        self.possibly_taken = 0

    def accounting(self, scenario: Scenario, stock: Stock) -> Accounting | None:
        """Empties the queues."""
        if scenario.kind == "agents":
            return consumed(stock.numbers(), self.received, stock.remaining() + stock.published())
        if scenario.kind == "waiting":
            return consumed(set(self.confirmed), self.received, stock.published())
        accountings = []
        if stock.full:
            accountings.append(self._consumed(scenario, stock))
        if scenario.publishes:
            queued = stock.published()
            accountings.append(
                published(self.confirmed, queued, self.unidentified, self.possibly_taken)
            )
        return combined(accountings)

    def _consumed(self, scenario: Scenario, stock: Stock) -> Accounting:
        """wrk never measures a mix of requests that consume and publish."""
        unidentified, possibly_taken = (
            (0, 0) if scenario.publishes else (self.unidentified, self.possibly_taken)
        )
        return consumed(
            stock.numbers(),
            self.received,
            stock.remaining(),
            unidentified * scenario.takes,
            possibly_taken * scenario.takes,
        )
