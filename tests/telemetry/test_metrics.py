"""Metrics: what is counted, and what an exporter reads."""

from __future__ import annotations

import pytest

from gateway.telemetry.metrics import Family, FamilySample, Histogram, Registry, Sample


def test_a_value_at_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 7.5


def test_equal_labels_are_one_series_in_any_order() -> None:
    family = Family("a", "counter")
    family.value({"x": "1", "y": "2"}).value += 1
    family.value({"y": "2", "x": "1"}).value += 2
    assert family.sample().samples == (Sample((("x", "1"), ("y", "2")), 3),)


def test_a_histogram_may_be_a_series_of_two_families() -> None:
    first, second = (Family(name, "histogram", bounds=(1.0,)) for name in "ab")
    histogram = first.histogram({"x": "1"})
    second.include({"y": "1"}, histogram)
    histogram.observe(0.5)
    assert first.sample().samples == (Sample((("x", "1"),), 0.5, (1, 0)),)
    assert second.sample().samples == (Sample((("y", "1"),), 0.5, (1, 0)),)


def test_a_registry_has_one_family_of_a_name_and_shows_those_with_series() -> None:
    registry = Registry()
    family = registry.family(Family("b", "counter"))
    assert registry.family(Family("b", "counter")) is family
    registry.family(Family("c", "counter"))
    registry.family(Family("a", "counter")).value({}).value = 2
    family.value({}).value = 1
    assert [each.name for each in registry.samples()] == ["a", "b"]


def test_collectors_bring_gauges_up_to_date_at_each_reading() -> None:
    registry = Registry()
    gauge = registry.family(Family("g", "gauge"))
    queues = {"q1": 1, "q2": 2}

    def collect() -> None:
        gauge.clear()
        for name, number in queues.items():
            gauge.value({"queue": name}).value = number

    registry.collectors.append(collect)
    assert len(next(registry.samples()).samples) == 2
    del queues["q1"]
    assert [*registry.samples()] == [FamilySample("g", "gauge", (Sample((("queue", "q2"),), 2),))]


@pytest.mark.parametrize("bounds", [(), (1.0,)])
def test_a_sample_does_not_change_any_more(bounds: tuple[float, ...]) -> None:
    family = Family("h", "histogram", bounds=bounds)
    histogram = family.histogram({})
    histogram.observe(1)
    sample = family.sample()
    histogram.observe(1)
    assert sum(sample.samples[0].counts) == 1


def test_a_collector_that_raises_hides_no_other_metrics(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    counter = registry.family(Family("a", "counter")).value({})

    def broken() -> None:
        raise RuntimeError("broken")

    def collect() -> None:
        counter.value += 1

    registry.collectors += [broken, collect]
    for expected in (1, 2):
        [family] = registry.samples()
        assert family.samples[0].value == expected
    assert caplog.text.count("some metrics cannot be read") == 1
