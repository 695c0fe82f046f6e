"""Distributions of one period, and their percentiles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.periods import Distribution, PeriodCount, Periods, summary

SHARES = (0.5, 0.75, 0.95, 0.99, 0.999)


def distribution(*values: float, period: int = 0) -> Distribution:
    made = Distribution()
    for value in values:
        made.add(value, period)
    return made


@given(st.lists(st.floats(min_value=1000, max_value=1e15), min_size=1, max_size=50))
def test_a_percentile_is_near_the_exact_one(values: list[float]) -> None:
    found = summary([distribution(*values)], 0, SHARES)
    ordered = sorted(values)
    for share, value in zip(SHARES, found.percentiles, strict=True):
        position = share * (len(values) + 1)
        below = max(int(position), 1) - 1
        lower = ordered[min(below, len(values) - 1)]
        upper = ordered[min(below + 1, len(values) - 1)]
        exact = lower + max(position - below - 1, 0) * (upper - lower)
        assert 0.98 * lower <= value <= 1.02 * upper
        assert abs(value - exact) <= 0.02 * upper
    assert (found.smallest, found.largest, found.count) == (ordered[0], ordered[-1], len(values))


def test_distributions_are_added_up() -> None:
    found = summary([distribution(1, 2), distribution(), distribution(9)], 0, (0.5,))
    assert (found.count, found.smallest, found.largest, found.mean) == (3, 1, 9, 4)
    assert round(found.deviation**2, 6) == round(38 / 3, 6)


def test_a_distribution_of_another_period_is_empty() -> None:
    made = distribution(5, 6)
    assert summary([made], 1, SHARES).percentiles == (0,) * 5
    assert (summary([made], 1, SHARES).count, made.total) == (0, 2)
    made.add(7, 1)
    found = summary([made], 1, SHARES)
    assert (found.count, found.smallest, found.largest, made.total) == (1, 7, 7, 3)


def test_equal_values_have_no_deviation() -> None:
    found = summary([distribution(*[0.1] * 1000)], 0, SHARES)
    assert found.deviation < 1e-6
    assert found.percentiles == (0.1,) * 5


def test_a_count_belongs_to_its_period() -> None:
    count = PeriodCount()
    count.add(0)
    count.add(0)
    count.add(1)
    assert count.read(1) == (1, 2, 2)
    assert count.read(2) == (0, 1, 3)
    assert count.read(9) == (0, 0, 3)


def test_periods_are_numbered_from_their_start() -> None:
    periods = Periods(2.5, lambda: 100.0)
    assert [periods.at(100 + seconds) for seconds in (0, 2.4, 2.5, 25)] == [0, 0, 1, 10]
    assert periods.now() == 0
