"""Token buckets admit exactly what a limit allows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.components.ratelimit.bucket import (
    SECOND,
    Buckets,
    BucketState,
    Rate,
    bucket_state,
    rate_of,
)
from gateway.components.ratelimit.settings import BackendLimitSettings, LimitSettings


class Time:
    """A clock that a test sets. Nanoseconds."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now


def rate(per_second: float, capacity: int = 0) -> Rate:
    found = rate_of(per_second, capacity)
    assert found is not None
    return found


rates = st.floats(1e-9, 1e6)
capacities = st.integers(1, 1000)


@given(rates, capacities, st.lists(st.integers(0, 3 * SECOND), max_size=60))
def test_at_most_the_capacity_and_the_tokens_of_the_time_pass(
    per_second: float, capacity: int, pauses: list[int]
) -> None:
    time = Time()
    buckets = Buckets(time)
    passed: list[int] = []
    for pause in pauses:
        time.now += pause
        if buckets.take(b"", rate(per_second, capacity)):
            passed.append(time.now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            seconds = (passed[last] - begin) / SECOND
            assert last - first + 1 <= capacity + per_second * seconds * (1 + 1e-9)


@given(rates, capacities)
def test_a_full_bucket_lets_its_capacity_through_at_once(per_second: float, capacity: int) -> None:
    buckets = Buckets(Time())
    limit = rate(per_second, capacity)
    passed = sum(buckets.take(b"", limit) for _ in range(capacity + 5))
    assert passed == min(capacity, limit.depth // limit.interval)


@given(st.floats(0.001, 1e6), capacities)
def test_a_token_comes_back_after_one_interval(per_second: float, capacity: int) -> None:
    time = Time()
    buckets = Buckets(time)
    limit = rate(per_second, capacity)
    while buckets.take(b"", limit):
        pass
    time.now += limit.interval - 1
    assert not buckets.take(b"", limit)
    time.now += 1
    assert buckets.take(b"", limit)
    assert not buckets.take(b"", limit)


def test_a_token_that_is_put_back_can_be_taken_again() -> None:
    buckets = Buckets(Time())
    limit = rate(1, 1)
    buckets.put_back(b"", limit)
    assert buckets.take(b"", limit)
    buckets.put_back(b"", limit)
    assert buckets.take(b"", limit)
    assert not buckets.take(b"", limit)


def test_each_key_has_a_bucket_of_its_own() -> None:
    buckets = Buckets(Time())
    assert [buckets.take(key, rate(1, 1)) for key in (b"a", b"b", b"a")] == [True, True, False]


def test_full_buckets_are_forgotten() -> None:
    time = Time()
    buckets = Buckets(time)
    for number in range(1000):
        buckets.take(b"%d" % number, rate(1, 5))
    assert len(buckets) == 1000
    time.now += 5 * SECOND
    for number in range(1000):
        buckets.take(b"new %d" % number, rate(1, 5))
    assert len(buckets) == 1000


def test_of_too_many_buckets_the_least_recently_used_one_is_forgotten() -> None:
    buckets = Buckets(Time(), max_buckets=2)
    limit = rate(1, 1)
    assert buckets.take(b"a", limit)
    assert buckets.take(b"b", limit)
    assert not buckets.take(b"a", limit)
    assert buckets.take(b"c", limit)
    assert len(buckets) == 2
    assert not buckets.take(b"a", limit)
    assert buckets.take(b"b", limit)


@pytest.mark.parametrize("per_second", [0.0, -1.0, math.nan])
def test_without_a_positive_rate_there_is_no_limit(per_second: float) -> None:
    assert rate_of(per_second, 5) is None


@given(st.floats(), st.integers(-(2**40), 2**70))
def test_any_number_makes_a_rate_that_fits_into_64_bits(per_second: float, capacity: int) -> None:
    if (limit := rate_of(per_second, capacity)) is not None:
        assert 1 <= limit.interval <= limit.depth <= 2**62


@pytest.mark.parametrize(
    ("max_rate", "capacity", "every", "interval", "holds"),
    [
        (2.0, 0, "1s", 0.5, 2),
        (2.5, 0, "1s", 0.4, 2),
        (0.5, 0, "1s", 2, 1),
        (5.0, 0, "10m", 120, 1),
        (1.0, 4, "10m", 600, 4),
        (3.0, 1, "1s", 1 / 3, 1),
        (1.0, -1, "0s", 1, 1),
        (1.0, 0, "never", 1, 1),
        (10.0, 0, "100ms", 0.01, 100),
    ],
)
def test_the_default_capacity_follows_the_rate_divided_by_the_period(
    max_rate: float, capacity: int, every: str, interval: float, holds: int
) -> None:
    limit = BackendLimitSettings(max_rate=max_rate, capacity=capacity, every=every).rate
    assert limit is not None
    assert limit.interval == pytest.approx(interval * SECOND)
    assert limit.depth == limit.interval * holds


def test_periods_of_endpoints_are_at_least_a_second() -> None:
    assert LimitSettings(max_rate=10, every="100ms").rate == rate(10)


def test_the_capacity_for_a_client_is_taken_from_the_rate_for_a_client() -> None:
    settings = LimitSettings(client_max_rate=5)
    assert (settings.rate, settings.client_rate) == (None, rate(5, 5))


@given(rates, capacities, st.lists(st.integers(0, 3 * SECOND), max_size=20))
def test_a_bucket_admits_as_many_requests_as_it_reports_remaining(
    per_second: float, capacity: int, pauses: list[int]
) -> None:
    time = Time()
    buckets = Buckets(time)
    limit = rate(per_second, capacity)
    for pause in pauses:
        time.now += pause
        buckets.take(b"k", limit)
    reported = buckets.state(b"k", limit)
    assert reported.remaining <= reported.limit
    assert sum(buckets.take(b"k", limit) for _ in range(reported.remaining)) == reported.remaining
    assert not buckets.take(b"k", limit)
    time.now += buckets.state(b"k", limit).next_in * SECOND
    assert buckets.take(b"k", limit)
    time.now += buckets.state(b"k", limit).full_in * SECOND
    assert buckets.state(b"k", limit).remaining == reported.limit


@pytest.mark.parametrize(
    ("full_in", "expected"),
    [
        (-1.0, BucketState(3, 3, 0, 0)),
        (0.0, BucketState(3, 3, 0, 0)),
        (10.0, BucketState(3, 2, 10, 0)),
        (10.5, BucketState(3, 1, 11, 0)),
        (20.0, BucketState(3, 1, 20, 0)),
        (29.0, BucketState(3, 0, 29, 9)),
        (30.0, BucketState(3, 0, 30, 10)),
    ],
)
def test_the_state_of_three_tokens_that_come_every_ten_seconds(
    full_in: float, expected: BucketState
) -> None:
    now = 10**15
    assert (
        bucket_state(now + int(full_in * SECOND), now, Rate(10 * SECOND, 30 * SECOND)) == expected
    )
