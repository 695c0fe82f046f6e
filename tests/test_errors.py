"""Which failure stands for all."""

from __future__ import annotations

import pytest

from gateway.errors import (
    AmqpFailure,
    BackendStatusError,
    BrokerUnavailable,
    DeadlineExceeded,
    NotConfirmed,
    OutcomeUnknown,
    QueueEmpty,
    SeveralFailures,
    Undecodable,
    Unroutable,
    together,
    worst,
)

IN_ORDER: list[AmqpFailure] = [
    BrokerUnavailable("away"),
    OutcomeUnknown("sent"),
    Undecodable("not JSON"),
    Unroutable("no queue"),
    QueueEmpty(),
]


@pytest.mark.parametrize("place", range(len(IN_ORDER)))
def test_the_worst_failure_is_answered(place: int) -> None:
    assert worst(reversed(IN_ORDER[place:])) is IN_ORDER[place]


def test_of_equal_failures_the_first_is_answered() -> None:
    first, second = Undecodable("a"), Undecodable("b")
    assert worst([QueueEmpty(), first, second]) is first


def test_an_empty_queue_has_the_last_word_whatever_its_status() -> None:
    assert worst([QueueEmpty(status=200), Unroutable("no queue")]).status == 422


def test_a_lone_failure_keeps_its_status() -> None:
    missing = BackendStatusError(404, "no such thing", "text/plain")
    assert together([missing], has_answers=False) is missing


def test_several_failures_are_500_with_all_texts_whatever_statuses_they_have() -> None:
    failures = [BackendStatusError(404, "a", ""), BackendStatusError(404, "b", ""), QueueEmpty("c")]
    failure = together(failures, has_answers=False)
    assert isinstance(failure, SeveralFailures)
    assert (failure.status, str(failure)) == (500, "a\nb\nc")


def test_failures_beside_answers_mean_nothing_unless_one_decides() -> None:
    unknown, empty = OutcomeUnknown("sent"), QueueEmpty()
    assert together([DeadlineExceeded(), empty], has_answers=True) is None
    assert together([DeadlineExceeded(), unknown], has_answers=True) is unknown
    assert together([BrokerUnavailable("away"), unknown], has_answers=True) is unknown


def test_a_message_that_was_not_confirmed_is_answered_whatever_http_backends_did() -> None:
    lost = NotConfirmed("nack")
    assert together([DeadlineExceeded(), lost], has_answers=False) is lost


def test_when_nothing_answers_a_broker_that_is_away_comes_before_an_unknown_outcome() -> None:
    away, unknown = BrokerUnavailable("away"), OutcomeUnknown("sent")
    assert together([unknown, away], has_answers=False) is away
