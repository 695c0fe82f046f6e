"""What clients were told in one session, to be compared with what is left on the broker."""

from __future__ import annotations

from collections.abc import Iterable

from .account import Account, consumed, published, together
from .queues import Stock
from .scenario import Scenario


class Tally:
    """``received``: numbers in good answers, or that an HTTP backend was sent; ``confirmed``:
    numbers of good publishing requests.

    ``uncounted``: good answers to a generator that tells no numbers; ``doubtful``: requests of
    such that may have been in flight when it hung up.
    """

    def __init__(self, received: Iterable[int] = (), confirmed: Iterable[int] = ()) -> None:
        self.received = list(received)
        self.confirmed = list(confirmed)
        self.uncounted = 0
        self.doubtful = 0

    def account(self, scenario: Scenario, stock: Stock) -> Account | None:
        """Empties the queues."""
        if scenario.kind == "agents":
            return consumed(stock.numbers(), self.received, stock.remaining() + stock.published())
        if scenario.kind == "waiting":
            return consumed(set(self.confirmed), self.received, stock.published())
        accounts = []
        if stock.full:
            accounts.append(self._consumed(scenario, stock))
        if scenario.publishes:
            queued = stock.published()
            accounts.append(published(self.confirmed, queued, self.uncounted, self.doubtful))
        return together(accounts)

    def _consumed(self, scenario: Scenario, stock: Stock) -> Account:
        """In a mix that publishes as well only our own generator is used."""
        uncounted, doubtful = (0, 0) if scenario.publishes else (self.uncounted, self.doubtful)
        return consumed(
            stock.numbers(),
            self.received,
            stock.remaining(),
            uncounted * scenario.takes,
            doubtful * scenario.takes,
        )
