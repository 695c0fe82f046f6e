"""Where every numbered message is after a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct


class Account(Struct, frozen=True):
    """``numbered``: messages that were put in or published. ``lost``: gone, and nobody has them.

    ``duplicated``: further copies of one. ``in_doubt``: may have been on their way when a
    generator that does not tell numbers (wrk) hung up; lost only when they are more than those
    connections.
    """

    numbered: int
    lost: int
    duplicated: int
    in_doubt: int = 0

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.duplicated


def consumed(
    filled: set[int],
    received: Iterable[int],
    remaining: Iterable[int],
    uncounted: int = 0,
    doubtful: int = 0,
) -> Account:
    """``received``: numbers in answers; ``remaining``: what no candidate took of the queues.

    ``uncounted``: messages in answers whose numbers are not known, ``doubtful``: how many may
    have been in flight beside those.
    """
    received_times = Counter(received)
    remaining_times = Counter(remaining)
    times = received_times + remaining_times
    missing = len(filled - times.keys()) - uncounted
    return Account(
        numbered=len(filled),
        lost=max(0, missing - doubtful),
        duplicated=sum(times.values()) - len(times),
        in_doubt=min(max(0, missing), doubtful),
    )


def published(
    confirmed: Iterable[int], queued: Iterable[int], uncounted: int = 0, doubtful: int = 0
) -> Account:
    """``confirmed``: numbers of requests answered with 2xx; ``queued``: what came into the queue.

    A generator that does not tell numbers publishes the same one all the time
    (:data:`UNTOLD`): ``uncounted`` of these were confirmed.
    """
    wanted = set(confirmed)
    there = Counter(queued)
    untold = there.pop(UNTOLD, 0)
    missing = uncounted - untold
    return Account(
        numbered=len(wanted) + uncounted,
        lost=len(wanted - there.keys()) + max(0, missing),
        duplicated=sum(there.values()) - len(there) + max(0, -missing - doubtful),
        in_doubt=min(max(0, -missing), doubtful),
    )


UNTOLD = 999_999_999_999
"""The number in messages published by a generator that cannot count."""


def together(accounts: Iterable[Account]) -> Account | None:
    """None when there is none."""
    each = list(accounts)
    if not each:
        return None
    return Account(
        sum(account.numbered for account in each),
        sum(account.lost for account in each),
        sum(account.duplicated for account in each),
        sum(account.in_doubt for account in each),
    )
