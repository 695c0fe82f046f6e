"""Metrics of several processes become one."""

from __future__ import annotations

import pytest

from gateway.telemetry.combined import combined, lasting
from gateway.telemetry.metrics import Across, Family, FamilySample, Kind, Registry, Sample

GET, PUT = (("method", "GET"),), (("method", "PUT"),)


def numbers(name: str, value: float, kind: Kind = "gauge", across: Across | None = None) -> Family:
    family = Family(name, kind, across=across)
    family.value({}).value = value
    return family


def total(*families: Family) -> FamilySample:
    (result,) = combined(*([each.sample()] for each in families))
    return result


@pytest.mark.parametrize("kind", ["counter", "gauge"])
def test_numbers_are_added(kind: Kind) -> None:
    family = total(*(numbers("a", value, kind) for value in (1, 2.5, 4)))
    assert family.samples == (Sample((), 7.5),)
    assert family.kind == kind


def test_series_are_added_by_their_labels() -> None:
    first, second = (
        Family("a", "counter", unit="s", help="text", scope="of"),
        Family("a", "counter"),
    )
    first.value({"method": "GET"}).value = 1
    second.value({"method": "PUT"}).value = 2
    second.value({"method": "GET"}).value = 4
    assert total(first, second) == FamilySample(
        "a", "counter", (Sample(GET, 5), Sample(PUT, 2)), "s", "text", "of"
    )


def test_histograms_are_added_bucket_by_bucket() -> None:
    first, second = (Family("a", "histogram", bounds=(1, 2)) for _ in range(2))
    for family, values in ((first, [1, 1.5]), (second, [2, 9, 9.5])):
        for value in values:
            family.histogram({}).observe(value)
    result = total(first, second)
    assert result.samples == (Sample((), 23, (1, 2, 2)),)
    assert result.bounds == (1, 2)


@pytest.mark.parametrize(
    ("name", "kind", "across", "expected"),
    [
        ("process_start_time_seconds", "gauge", None, 1),
        ("last_success_timestamp_seconds", "gauge", None, 3),
        ("last_success_timestamp_seconds", "gauge", "min", 1),
        ("start_time_seconds", "counter", None, 6),
        ("info", "gauge", "max", 3),
        ("of_all_processes", "counter", "max", 3),
    ],
)
def test_some_numbers_are_not_added(
    name: str, kind: Kind, across: Across | None, expected: float
) -> None:
    family = total(*(numbers(name, value, kind, across) for value in (2, 1, 3)))
    assert family.samples == (Sample((), expected),)


def test_families_of_all_parts_are_sorted_by_name() -> None:
    families = combined([numbers("c", 1).sample()], [numbers(n, 1).sample() for n in "ab"], [])
    assert [each.name for each in families] == ["a", "b", "c"]
    assert combined() == combined([], []) == ()


def test_a_family_of_another_kind_or_with_other_bounds_is_left_out() -> None:
    counter, gauge = numbers("a", 1, "counter"), numbers("a", 2, "gauge")
    assert total(counter, gauge) == counter.sample()
    assert total(gauge, counter) == gauge.sample()
    old, new = Family("h", "histogram", bounds=(1, 2)), Family("h", "histogram", bounds=(1, 3))
    for family in (old, new):
        family.histogram({}).observe(1)
    assert total(new, old, new).samples == (Sample((), 2, (2, 0, 0)),)


def test_the_parts_stay_as_they_are() -> None:
    registry = Registry()
    registry.family(numbers("a", 1, "counter"))
    part = [*registry.samples()]
    combined(part, part)
    assert part == [*registry.samples()]


def test_counters_and_histograms_outlast_a_process_and_gauges_do_not() -> None:
    histogram = Family("h", "histogram", bounds=(1,))
    histogram.histogram({}).observe(2)
    families = [numbers("c", 1, "counter"), numbers("g", 1), histogram]
    assert [each.name for each in lasting(each.sample() for each in families)] == ["c", "h"]
