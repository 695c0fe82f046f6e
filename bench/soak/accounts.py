"""Where each numbered message is. Pure; a message takes 6 bytes, so that an hour fits in memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence

from ..messages import SERIES

CONFIRMED, BY_LEAVING, IS_TIMED = 1, 2, 4
MAX_COPIES = 255

Cause = Callable[[float], str]
"""Returns what can have duplicated a message: its :meth:`Account.time` is given."""

CLIENT_LEFT = "a client left"


class Account:
    """The messages of one flow, which have the numbers 0, 1, 2 ...

    A message is confirmed when the broker, or a 200 of the gateway, says that it is in its queue.
    A confirmed message that was never received is missing. ``duplicates``: by cause, every receipt
    of a message after its first. ``unknown``: receipts of numbers that do not exist.
    """

    def __init__(self, name: str, cause: Cause) -> None:
        self.name = name
        self.remaining = 0
        self.unknown = 0
        self.duplicates: Counter[str] = Counter()
        self._cause = cause
        self._flags = bytearray()
        self._copies = bytearray()
        self._times = array("f")

    def __len__(self) -> int:
        return len(self._flags)

    def add(self, seconds: float) -> int:
        """The number of a new message, which is about to be published."""
        self._flags.append(0)
        self._copies.append(0)
        self._times.append(seconds)
        return len(self._flags) - 1

    def confirm(self, number: int, seconds: float | None = None) -> None:
        """``seconds``: when a client received the 200. What the gateway does with the message is
        over then, however late it is read from its queue."""
        self._flags[number] |= CONFIRMED
        if seconds is not None:
            self._flags[number] |= IS_TIMED
            self._times[number] = seconds

    def receive(
        self,
        number: int,
        seconds: float,
        *,
        is_leaving: bool = False,
        is_read_again: bool = False,
    ) -> None:
        """The message arrived where its flow ends, ``seconds`` after the start.

        ``is_leaving``: in the kernel of a client that left without reading it.
        ``is_read_again``: the reader may have received the very same copy before.
        """
        if number >= len(self):
            self.unknown += 1
        elif not self._copies[number]:
            self._copies[number] = 1
            self._flags[number] |= BY_LEAVING * is_leaving
            if not self._flags[number] & IS_TIMED:
                self._times[number] = seconds
        elif not is_read_again:
            self._copies[number] = min(self._copies[number] + 1, MAX_COPIES)
            has_left = self._flags[number] & BY_LEAVING
            self.duplicates[CLIENT_LEFT if has_left else self._cause(self._times[number])] += 1

    def find(self, number: int, seconds: float) -> None:
        """The message is in its queue at the end."""
        self.remaining += 1
        self.receive(number, seconds)

    def time(self, number: int) -> float:
        """When a client received the 200 for the message; otherwise when it was first received;
        otherwise when it was published."""
        return self._times[number]

    @property
    def confirmed(self) -> int:
        return sum(flags & CONFIRMED for flags in self._flags)

    @property
    def received(self) -> int:
        """Messages that arrived, or that are in their queue at the end."""
        return len(self) - self._copies.count(0)

    @property
    def missing(self) -> list[int]:
        return [
            number
            for number, (flags, copies) in enumerate(zip(self._flags, self._copies, strict=True))
            if flags & CONFIRMED and not copies
        ]


def place_of(number: int) -> tuple[int, int]:
    """The index of the account that a number of :mod:`bench.messages` belongs to, and the number
    in it."""
    series, number = divmod(number, SERIES)
    return series - 1, number


def total_duplicates(accounts: Sequence[Account]) -> Counter[str]:
    return sum((account.duplicates for account in accounts), Counter())
