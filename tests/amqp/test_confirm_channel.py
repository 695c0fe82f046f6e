"""Messages on a channel that the broker may close, without a broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.amqp.connection.link import BrokerConnection
from gateway.amqp.publish.confirm_channel import ConfirmChannel
from gateway.amqp.publish.publication import Outcome, Publication, Window
from gateway.amqp.publish.quarantine import MAX_UNCHECKED, Quarantine
from gateway.amqp.wire import codec
from gateway.core.proxy import Part, Response

CLOSING = codec.ChannelClose(403, "no", codec.PUBLISH)


class Line:
    """A connection and its tap: keeps what is written."""

    frame_max = 4096
    can_publish = True

    def __init__(self) -> None:
        self.tap = self
        self.can_publish_callbacks: set[Callable[[], None]] = set()
        self.receiver = codec.Receiver(lambda frame: None)
        self.written: list[bytes] = []

    def write(self, frames: bytes) -> None:
        self.written.append(frames)


class Case:
    """A channel, and what it has settled."""

    def __init__(self, is_quarantine: bool = False, limit: int = 1000) -> None:
        self.line = Line()
        self.settled: list[tuple[bytes, Outcome]] = []
        self.accepted: list[bytes] = []
        self.wake_ups = 0
        window = Window(limit)
        self.quarantine = Quarantine(
            b"ex", window, self._settle, self._count_wake_up, self.accepted.append
        )
        self.channel: ConfirmChannel = self.quarantine
        if not is_quarantine:
            self.channel = ConfirmChannel(b"ex", window, self._settle, self._count_wake_up)

    def open(self) -> None:
        self.channel.open(1, cast(BrokerConnection, self.line))

    def _settle(self, publication: Publication, outcome: Outcome) -> None:
        self.settled.append((publication.routing_key, outcome))

    def _count_wake_up(self) -> None:
        self.wake_ups += 1

    def publish(self, *keys: bytes, body: Any = b"x") -> None:
        for key in keys:
            self.channel.accept(publication(key, body))

    @property
    def in_flight(self) -> list[bytes]:
        return [each.routing_key for each in self.channel.in_flight.values()]


class IgnoredWithdrawal:
    def withdraw(self, publication: Publication) -> None:
        """Nothing waits."""


def publication(routing_key: bytes, body: Any = b"x") -> Publication:
    def answer(publication: Publication, outcome: Outcome) -> Part:
        return Response()

    return Publication(
        IgnoredWithdrawal(), routing_key, b"", body, routing_key, False, answer, _arrive
    )


def _arrive(part: Part) -> None:
    """No request waits."""


def keys(publications: list[Publication]) -> list[bytes]:
    return [each.routing_key for each in publications]


def test_a_quarantine_finds_the_message_for_which_it_was_closed() -> None:
    """Also when an earlier one is not confirmed, and a later one is written."""
    case = Case(is_quarantine=True)
    case.open()
    case.publish(b"a", b"b", b"c", b"d")
    assert case.in_flight == [b"a"]  # the first alone
    case.channel.processed()
    assert case.in_flight == [b"a", b"b", b"c"]
    case.channel.confirmed(1, False, True)
    case.channel.processed()
    assert case.in_flight == [b"b", b"c", b"d"]
    case.channel.closed(CLOSING)
    checked = case.quarantine.close_and_check()
    assert checked.refused is not None
    assert (keys(checked.accepted), checked.refused.routing_key, keys(checked.unchecked)) == (
        [b"b"],
        b"c",
        [b"d"],
    )
    assert [
        each.is_written for each in (*checked.accepted, checked.refused, *checked.unchecked)
    ] == [
        True,
        True,
        False,
    ]
    assert case.accepted == [b"a", b"b"]


def test_a_quarantine_starts_with_one_unchecked_message_and_has_a_bound() -> None:
    case = Case(is_quarantine=True)
    case.open()
    case.publish(*(b"%d" % number for number in range(1000)))
    answered = 0
    unchecked = []
    while len(case.channel.waiting):
        unchecked.append(len(case.in_flight) - answered)
        case.channel.processed()
        answered += 1
    assert unchecked[:4] == [1, 2, 3, 4]
    assert max(unchecked) == MAX_UNCHECKED


def test_nothing_is_written_on_a_channel_that_the_broker_has_closed() -> None:
    """Not even before the AMQP library has seen the frame: the broker would end the connection."""
    case = Case()
    case.open()
    case.publish(b"a")
    case.channel.closed(CLOSING)
    case.publish(b"b")
    assert len(case.line.written) == 1
    assert keys([*case.channel.waiting]) == [b"b"]
    assert case.wake_ups == 1
    assert keys([*case.channel.close().values()]) == [b"a"]


def test_a_closed_channel_frees_its_places_in_the_window() -> None:
    case = Case(limit=2)
    for _ in range(3):
        case.open()
        case.publish(b"a", b"b", b"c")
        assert case.in_flight == [b"a", b"b"]
        case.channel.close()
        case.channel.waiting.clear()


@pytest.mark.parametrize("is_quarantine", [False, True])
def test_a_message_that_cannot_be_written_fails_alone(
    is_quarantine: bool, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(is_quarantine)
    case.open()
    case.publish(b"bad", body="a text")
    case.publish(b"good")
    assert case.settled == [(b"bad", Outcome.REFUSED)]
    case.channel.confirmed(1, False, True)
    assert case.settled == [(b"bad", Outcome.REFUSED), (b"good", Outcome.CONFIRMED)]
    assert caplog.text.count("while a message was written") == 1


def test_an_error_in_one_response_does_not_affect_other_messages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(part: Part) -> None:
        raise ZeroDivisionError

    publication(b"bad").settle(Outcome.CONFIRMED)
    failing = publication(b"bad")
    failing.arrive = fail
    failing.settle(Outcome.CONFIRMED)
    assert failing.is_over
    assert "ZeroDivisionError" in caplog.text
