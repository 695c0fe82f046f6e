"""Message accounting: where each numbered message is after a run. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct


class Accounting(Struct, frozen=True):
    """``numbered``: messages that were filled in or published. ``lost``: in no response and in no
    queue. ``duplicated``: further copies of a message.

    ``in_doubt``: messages that may have been in a response when wrk, which does not report
    numbers, closed its connections. Missing messages count as lost when there are more of them
    than such connections.
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
    unidentified: int = 0,
    possibly_taken: int = 0,
) -> Accounting:
    """``received``: numbers in responses. ``remaining``: numbers that no candidate consumed.

    ``unidentified``: count of messages in responses whose numbers are not known.
    ``possibly_taken``: count of further messages that may have been in flight.
    """
    received_times = Counter(received)
    remaining_times = Counter(remaining)
    times = received_times + remaining_times
    missing = len(filled - times.keys()) - unidentified
    return Accounting(
        numbered=len(filled),
        lost=max(0, missing - possibly_taken),
        duplicated=sum(times.values()) - len(times),
        in_doubt=min(max(0, missing), possibly_taken),
    )


def published(
    confirmed: Iterable[int], queued: Iterable[int], unidentified: int = 0, possibly_taken: int = 0
) -> Accounting:
    """``confirmed``: numbers of requests with a 2xx response. ``queued``: numbers that came into
    the queue.

    wrk and k6 publish one and the same number (:data:`SHARED_NUMBER`): ``unidentified`` messages
    with it were confirmed.
    """
    wanted = set(confirmed)
    there = Counter(queued)
    unidentified_queued = there.pop(SHARED_NUMBER, 0)
    missing = unidentified - unidentified_queued
    return Accounting(
        numbered=len(wanted) + unidentified,
        lost=len(wanted - there.keys()) + max(0, missing),
        duplicated=sum(there.values()) - len(there) + max(0, -missing - possibly_taken),
        in_doubt=min(max(0, -missing), possibly_taken),
    )


SHARED_NUMBER = 999_999_999_999
"""The number in all messages that are published by wrk and k6."""


def combined(accountings: Iterable[Accounting]) -> Accounting | None:
    """None when there is none."""
    each = list(accountings)
    if not each:
        return None
    return Accounting(
        sum(accounting.numbered for accounting in each),
        sum(accounting.lost for accounting in each),
        sum(accounting.duplicated for accounting in each),
        sum(accounting.in_doubt for accounting in each),
    )
