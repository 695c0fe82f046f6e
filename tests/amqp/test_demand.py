"""The decisions about the prefetch. No clock: each test says the time."""

from __future__ import annotations

import pytest

from gateway.amqp.consume.demand import COUNTED_TIME, COVERED_PAUSE, MARK_INTERVAL, Demand


def test_one_request_a_second_is_rare() -> None:
    demand = Demand(0.0, 0)
    for count, time in enumerate((5.0, 6.1, 7.2, 12.0), 1):
        demand.note(time, count, 1, 0)
        assert demand.is_rare(time, count)


def test_two_requests_within_a_second_are_not_rare_and_a_second_later_they_are() -> None:
    demand = Demand(0.0, 0)
    demand.note(5.0, 1, 1, 0)
    demand.note(5.9, 2, 1, 0)
    assert not demand.is_rare(5.9, 2)
    demand.note(7.0, 2, 0, 0)
    assert demand.is_rare(7.0, 2)


def test_the_prefetch_doubles() -> None:
    demand = Demand(0.0, 0)
    demand.note(1.0, 3, 1, 0)
    assert demand.larger_prefetch(4, 1) == 8


def test_the_prefetch_grows_by_the_requests_that_wait() -> None:
    demand = Demand(0.0, 0)
    demand.note(1.0, 3, 30, 0)
    assert demand.larger_prefetch(4, 30) == 34


def test_at_a_high_rate_the_prefetch_grows_to_the_messages_of_a_pause_of_the_broker() -> None:
    demand = Demand(0.0, 0)
    for tick in range(1, 31):
        demand.note(tick / 10, tick * 200, 1, 0)  # 2,000 requests a second
    assert demand.larger_prefetch(16, 1) == pytest.approx(2000 * COVERED_PAUSE, abs=1)


def test_the_rate_decides_again_a_moment_after_requests_had_to_wait() -> None:
    demand = Demand(0.0, 0)
    demand.note(1.0, 2, 1, 0)
    assert demand.larger_prefetch(16, 1) == 32
    demand.note(1.5, 1002, 0, 0)  # 2,000 requests a second
    assert demand.later_prefetch(32) == pytest.approx(2000 * COVERED_PAUSE, abs=1)
    demand.note(3.0, 4002, 0, 0)
    assert demand.later_prefetch(32) == 32


def test_a_first_burst_does_not_count_as_a_rate() -> None:
    demand = Demand(0.0, 0)
    demand.note(100.0, 1, 1, 0)
    demand.note(100.01, 50, 49, 0)
    assert demand.larger_prefetch(1, 49) == 50


def test_a_prefetch_far_above_the_requests_shrinks_to_their_number() -> None:
    demand = Demand(0.0, 0)
    demand.note(10.0, 1000, 1, 0)
    for tick in range(1, 11):
        demand.note(10.0 + tick * 0.5, 1000 + tick * 5, 1, 0)  # 10 a second
    assert demand.smaller_prefetch(100, 3) == 10 * COUNTED_TIME
    assert demand.smaller_prefetch(39, 3) == 39


def test_a_prefetch_does_not_shrink_below_what_requests_hold() -> None:
    demand = Demand(0.0, 0)
    demand.note(10.0, 1000, 0, 0)
    demand.note(15.0, 1001, 0, 0)
    assert demand.smaller_prefetch(100, 80) == 80


def test_when_requests_are_rare_the_prefetch_is_what_they_use() -> None:
    demand = Demand(0.0, 0)
    demand.note(10.0, 1000, 0, 0)
    demand.note(15.0, 1001, 0, 0)
    assert demand.smaller_prefetch(2, 0) == 1


def test_a_request_that_waits_is_a_request_of_now() -> None:
    demand = Demand(0.0, 0)
    demand.note(10.0, 1, 1, 0)
    demand.note(13.0, 1, 1, 0)
    assert demand.last_request_at == 13.0
    demand.note(14.0, 1, 0, 0)
    assert demand.last_request_at == 13.0


def test_a_request_is_counted_at_its_time_although_a_mark_was_set_just_before() -> None:
    demand = Demand(0.0, 0)
    demand.note(10.0, 0, 0, 0)
    demand.note(10.01, 1, 0, 0)
    demand.note(11.5, 2, 0, 0)
    assert demand.is_rare(11.5, 2)


def test_marks_are_bounded() -> None:
    demand = Demand(0.0, 0)
    for tick in range(100_000):
        demand.note(tick / 1000, tick, 1, 0)
    assert len(demand._marks) <= 2 + 2 * COUNTED_TIME / MARK_INTERVAL


def test_messages_are_settled_soon_if_as_many_were_settled_in_the_last_moments() -> None:
    demand = Demand(0.0, 0)
    demand.note(10.0, 20, 1, 5)
    demand.note(10.05, 30, 1, 25)
    assert demand.are_settled_soon(20)
    assert not demand.are_settled_soon(21)
    demand.note(10.06, 40, 1, 25)
    assert demand.are_settled_soon(20)
    demand.note(10.08, 40, 1, 25)
    assert not demand.are_settled_soon(20)


def test_messages_that_were_settled_in_half_a_second_do_not_say_how_soon_others_are() -> None:
    demand = Demand(0.0, 0)
    demand.note(10.0, 20, 1, 5)
    demand.note(10.5, 30, 1, 25)
    assert not demand.are_settled_soon(20)
