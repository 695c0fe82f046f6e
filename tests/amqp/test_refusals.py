"""What is remembered of messages that a broker refuses."""

from __future__ import annotations

import pytest

from gateway.amqp.publish.publication import Outcome, Publication
from gateway.amqp.publish.refusals import MAX_KEYS, REFUSAL_TIME, RefusedKeys
from gateway.amqp.wire.codec import PUBLISH, ChannelClose
from gateway.core.proxy import Part, Response

FORBIDDEN = ChannelClose(403, "ACCESS_REFUSED - access to topic 'key' refused", PUBLISH)
OTHER = ChannelClose(406, "PRECONDITION_FAILED - invalid message", PUBLISH)


class IgnoredWithdrawal:
    def withdraw(self, publication: Publication) -> None:
        """Nothing waits."""


def publication(routing_key: bytes = b"key", body: bytes = b"") -> Publication:
    def arrive(part: Part) -> None:
        """No request waits."""

    def answer(publication: Publication, outcome: Outcome) -> Part:
        return Response()

    return Publication(IgnoredWithdrawal(), routing_key, b"", body, b"id", False, answer, arrive)


def test_a_key_is_trusted_when_the_broker_has_accepted_it() -> None:
    refusals = RefusedKeys()
    assert not refusals.is_trusted(publication())
    refusals.key_accepted(b"key")
    assert refusals.is_trusted(publication())
    assert not refusals.is_trusted(publication(b"another"))
    refusals.forget_accepted_keys()
    assert not refusals.is_trusted(publication())


def test_a_forbidden_key_is_refused_without_sending_it_for_a_second() -> None:
    refusals = RefusedKeys()
    refusals.key_accepted(b"key")
    assert refusals.refused(publication(), FORBIDDEN, 100.0) is Outcome.REFUSED
    assert not refusals.is_trusted(publication())
    known_outcome = publication()
    assert refusals.known_outcome(known_outcome, 100.0 + REFUSAL_TIME / 2) is Outcome.REFUSED
    assert known_outcome.reason == FORBIDDEN.text
    assert refusals.known_outcome(publication(b"another"), 100.0) is None
    assert refusals.known_outcome(publication(), 100.1 + REFUSAL_TIME) is None
    refusals.key_accepted(b"key")
    assert refusals.is_trusted(publication())


def test_a_key_is_not_trusted_again_when_it_was_not_the_reason_of_a_refusal() -> None:
    refusals = RefusedKeys()
    refusals.refused(publication(), OTHER, 100.0)
    assert refusals.known_outcome(publication(), 100.0) is None
    refusals.key_accepted(b"key")
    assert not refusals.is_trusted(publication())


@pytest.mark.parametrize(
    "text",
    [
        "PRECONDITION_FAILED - message size 11 is larger than configured max size 10",
        "PRECONDITION_FAILED - message size 11 is larger than max size 10",
    ],
)
def test_the_max_message_size_in_a_refusal_is_a_bound_for_every_key(text: str) -> None:
    refusals = RefusedKeys()
    refusals.key_accepted(b"key")
    refused = publication(body=bytes(11))
    assert refusals.refused(refused, ChannelClose(406, text, PUBLISH), 0.0) is Outcome.TOO_LARGE
    assert refused.reason == text
    assert refusals.is_trusted(publication(body=bytes(10)))
    too_large = publication(b"another", bytes(11))
    assert not refusals.is_trusted(too_large)
    assert refusals.known_outcome(too_large, 1000.0) is Outcome.TOO_LARGE
    assert too_large.reason == text


def test_the_number_of_remembered_keys_is_bounded() -> None:
    refusals = RefusedKeys()
    for number in range(MAX_KEYS + 1):
        refusals.key_accepted(b"%d" % number)
        refusals.refused(publication(b"bad.%d" % number), FORBIDDEN, 0.0)
    assert not refusals.is_trusted(publication(b"0"))
    assert refusals.is_trusted(publication(b"%d" % MAX_KEYS))
    assert refusals.known_outcome(publication(b"bad.0"), 0.0) is None
    assert refusals.known_outcome(publication(b"bad.%d" % MAX_KEYS), 0.0) is Outcome.REFUSED
