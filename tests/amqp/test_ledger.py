"""The ledger against a model of what a broker accepts."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from gateway.amqp.consume.ledger import Ledger, SettledCounts
from gateway.amqp.wire import codec


class Broker:
    """Keeps outstanding tags as RabbitMQ does; an unknown tag would close the channel."""

    def __init__(self) -> None:
        self.outstanding: set[int] = set()

    def receive(self, frame: bytes) -> set[int]:
        _, _, _, _, method, tag, flag, _ = struct.unpack(">BHIHHQBB", frame)
        assert tag in self.outstanding, "406 unknown delivery tag"
        settled = {each for each in self.outstanding if each <= tag} if flag else {tag}
        self.outstanding -= settled if method == 80 else {tag}
        return settled


@given(st.lists(st.one_of(st.integers(1, 30), st.sets(st.integers(1, 60), max_size=30))))
def test_exactly_what_is_acknowledged_is_settled(script: list[int | set[int]]) -> None:
    ledger, broker = Ledger(1), Broker()
    delivered, acknowledged = 0, set[int]()
    for step in script:
        if isinstance(step, int):
            for _ in range(step):
                delivered += 1
                ledger.last = delivered
                broker.outstanding.add(delivered)
        else:
            tags = {tag for tag in step if tag <= delivered} - acknowledged
            acknowledged |= tags
            settled = set().union(*(broker.receive(frame) for frame in ledger.acknowledge(tags)))
            assert settled == tags
    assert broker.outstanding == set(range(1, delivered + 1)) - acknowledged
    assert len(ledger) == len(broker.outstanding)


def test_contiguous_tags_are_one_frame() -> None:
    ledger = Ledger(1)
    for tag in range(1, 101):
        ledger.last = tag
    assert list(ledger.acknowledge(range(100, 0, -1))) == [codec.ack(1, 100, multiple=True)]


def test_a_held_message_does_not_stop_acknowledgements_of_later_ones() -> None:
    ledger = Ledger(1)
    for tag in (1, 2, 3):
        ledger.last = tag
    assert list(ledger.acknowledge([3, 2])) == [codec.ack(1, 2), codec.ack(1, 3)]
    assert list(ledger.acknowledge([1])) == [codec.ack(1, 1)]


def test_a_held_message_costs_no_memory_for_later_ones() -> None:
    ledger = Ledger(1)
    ledger.last = 1
    for tag in range(2, 10_000):
        ledger.last = tag
        list(ledger.acknowledge([tag]))
    assert len(ledger) == 1


def test_a_tag_is_rejected_once() -> None:
    ledger = Ledger(1)
    ledger.last = 1
    assert ledger.reject(1) == codec.reject(1, 1)
    assert ledger.reject(1) == b""
    assert list(ledger.acknowledge([1])) == []


def test_settled_messages_are_counted_by_their_method() -> None:
    ledger = Ledger(1)
    ledger.last = 10
    ledger.acknowledge([1, 2, 5])
    ledger.requeue([3, 6])
    ledger.requeue([3])  # it is settled already
    ledger.reject(4)
    ledger.reject(4)
    assert ledger.counts == SettledCounts(ack=3, nack=2, reject=1)
    ledger.requeue_all()
    assert ledger.counts == SettledCounts(ack=3, nack=6, reject=1)
    assert ledger.counts.plus(ledger.counts) == SettledCounts(6, 12, 2)
