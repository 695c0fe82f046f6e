"""Which failure stands for all."""

from __future__ import annotations

import pytest

from gateway.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    GatewayError,
    OutcomeUnknown,
    QueueEmpty,
    Undecodable,
    Unroutable,
    worst,
)

IN_ORDER: list[GatewayError] = [
    DeadlineExceeded(),
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
