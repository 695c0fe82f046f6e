"""Which messages use the prefetch of a consumer, and when it is too small."""

from __future__ import annotations

import pytest

from gateway.amqp.consume.credit import MAX_MARK_AGE, Credit
from gateway.amqp.consume.ledger import Ledger


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(1)


@pytest.fixture
def credit(ledger: Ledger, clock: Clock) -> Credit:
    """Of a consumer with a prefetch of 4, after three messages of an earlier one."""
    ledger.last = 3
    credit = Credit(ledger, clock)
    credit.consumer_started(4, can_grow=True)
    return credit


def settle(ledger: Ledger, credit: Credit, *tags: int) -> None:
    ledger.acknowledge(tags)
    credit.note_settled()


def test_messages_of_an_earlier_consumer_use_no_credit(ledger: Ledger, credit: Credit) -> None:
    ledger.last = 6
    assert not credit.is_used_up
    ledger.last = 7
    assert credit.is_used_up
    settle(ledger, credit, 1, 2, 3)
    assert credit.is_used_up
    settle(ledger, credit, 5)
    assert not credit.is_used_up


def test_credit_is_short_when_all_is_in_use_and_requests_wait(
    ledger: Ledger, credit: Credit
) -> None:
    ledger.last = 7
    assert credit.is_short(unserved=5, arriving=4)
    assert not credit.is_short(unserved=4, arriving=4)
    assert not credit.is_short(unserved=0)


def test_credit_is_not_short_while_the_queue_has_no_more_messages(
    ledger: Ledger, credit: Credit
) -> None:
    ledger.last = 6
    assert not credit.is_short(unserved=5, arriving=3)


def test_a_request_that_had_to_wait_for_a_refill_shows_that_credit_is_short(
    ledger: Ledger, credit: Credit
) -> None:
    ledger.last = 7
    settle(ledger, credit, 4)
    ledger.last = 8
    assert credit.is_short(unserved=1, arriving=1)


def test_credit_that_was_given_back_a_moment_ago_counts_as_in_use(
    ledger: Ledger, credit: Credit, clock: Clock
) -> None:
    ledger.last = 7
    credit.note_settled()
    clock.now += 0.006
    settle(ledger, credit, 4, 5)
    assert not credit.is_used_up
    assert credit.is_short(unserved=1)
    clock.now += MAX_MARK_AGE
    assert not credit.is_short(unserved=1)
