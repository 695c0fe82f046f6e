"""By how much messages that are sent raise the prefetch."""

from __future__ import annotations

import pytest

from gateway.amqp.consume.prefetch_raise import RAISE_KEPT_TIME, PrefetchRaise


@pytest.mark.parametrize(
    ("sent", "size"), [(0, 0), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (64, 64), (65, 128)]
)
def test_the_raise_is_a_power_of_two(sent: int, size: int) -> None:
    prefetch_raise = PrefetchRaise(0.0)
    prefetch_raise.grow(sent)
    assert prefetch_raise.size == size


def test_the_raise_does_not_become_smaller_at_once() -> None:
    prefetch_raise = PrefetchRaise(0.0)
    prefetch_raise.grow(64)
    prefetch_raise.grow(1)
    assert not prefetch_raise.note(RAISE_KEPT_TIME / 2, 0)
    assert prefetch_raise.size == 64


@pytest.mark.parametrize(
    ("most_sent", "size"), [(64, 64), (33, 64), (17, 64), (16, 16), (1, 1), (0, 0)]
)
def test_the_raise_becomes_smaller_when_less_than_half_of_it_was_needed(
    most_sent: int, size: int
) -> None:
    prefetch_raise = PrefetchRaise(0.0)
    prefetch_raise.grow(64)
    assert prefetch_raise.note(RAISE_KEPT_TIME, most_sent)
    assert prefetch_raise.size == size
    assert not prefetch_raise.note(RAISE_KEPT_TIME * 1.5, 0)
