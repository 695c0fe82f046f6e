"""What is counted of each response, and the times that come of it."""

from __future__ import annotations

import random

import pytest

from gateway.components.page.counting import BOUNDS, EndpointCounters, times_of
from gateway.config.structs import Endpoint

from .reports import counts


@pytest.mark.parametrize(
    ("status", "place"),
    [(200, 0), (201, 0), (302, 0), (204, 1), (400, 2), (429, 2), (499, 4), (500, 3), (503, 3)],
)
def test_each_status_has_an_outcome(status: int, place: int) -> None:
    assert counts((status, 0.001)).outcomes == [int(number == place) for number in range(5)]


def test_a_value_that_is_equal_to_a_bound_belongs_to_its_bucket() -> None:
    assert counts((200, BOUNDS[3])).buckets[3] == 1
    assert counts((200, BOUNDS[3] * 1.001)).buckets[4] == 1
    assert counts((200, 1e9)).buckets[-1] == 1


def test_endpoints_are_counted_by_method_and_path_and_all_else_as_unmatched() -> None:
    endpoints = [Endpoint(endpoint="/a"), Endpoint(endpoint="/a", method="POST")]
    counted = EndpointCounters(endpoints)
    counted.counter_of(endpoints[1])(200, 0.1)
    counted.count_unmatched(404)
    counted.count_unmatched(404)
    assert [sum(each.outcomes) for each in counted.all] == [0, 1, 2]
    assert [sum(each.buckets) for each in counted.all] == [0, 1, 0]


def test_percentiles_are_near_the_exact_ones() -> None:
    chance = random.Random(1)
    seconds = sorted(chance.lognormvariate(-6, 1) for _ in range(10_000))
    times = times_of(counts(*((200, each) for each in seconds)).buckets)
    assert times is not None
    assert times.p50 == pytest.approx(seconds[5_000], rel=0.12)
    assert times.p99 == pytest.approx(seconds[9_900], rel=0.12)
    assert times.max == min(bound for bound in BOUNDS if bound >= seconds[-1])


def test_without_a_response_there_are_no_times() -> None:
    assert times_of(counts().buckets) is None


@pytest.mark.parametrize("seconds", [0.0, 0.00001, 0.05, 99.0, 1e6])
def test_one_response_has_times_within_its_bucket(seconds: float) -> None:
    times = times_of(counts((200, seconds)).buckets)
    assert times is not None
    assert 0 < times.p50 <= times.p99 <= times.max <= BOUNDS[-1]
