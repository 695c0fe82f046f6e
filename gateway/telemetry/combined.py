"""Adds up the metrics of several processes.

It is pure: where the samples of other processes come from is not its matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec.structs import replace

from .metrics import Across, FamilySample, Labels, Sample

Join: TypeAlias = Callable[[float, float], float]


def _sum(first: float, second: float) -> float:
    return first + second


JOINS: dict[Across, Join] = {"sum": _sum, "min": min, "max": max}
"""How two numbers of the same series become one."""


def combined(*parts: Iterable[FamilySample]) -> tuple[FamilySample, ...]:
    """The families of all parts, sorted by name. Series with the same name and labels are one.

    Families of one name can differ in kind or bounds, if the configuration has changed between the
    starts of two processes. Then that of the first part counts, and the others are left out.
    """
    families: dict[str, FamilySample] = {}
    series: dict[str, dict[Labels, Sample]] = {}
    for part in parts:
        for family in part:
            first = families.setdefault(family.name, family)
            if (first.kind, first.bounds) == (family.kind, family.bounds):
                _add(series.setdefault(family.name, {}), family.samples, JOINS[first.across])
    return tuple(
        replace(family, samples=tuple(series[name].values()))
        for name, family in sorted(families.items())
    )


def _add(series: dict[Labels, Sample], samples: Iterable[Sample], join: Join) -> None:
    for sample in samples:
        before = series.get(sample.labels)
        series[sample.labels] = sample if before is None else _joined(before, sample, join)


def _joined(first: Sample, second: Sample, join: Join) -> Sample:
    counts = tuple(map(int.__add__, first.counts, second.counts))
    return Sample(first.labels, join(first.value, second.value), counts)


def lasting(families: Iterable[FamilySample]) -> tuple[FamilySample, ...]:
    """What counts after the end of a process: counters and histograms, but no gauges."""
    return tuple(each for each in families if each.kind != "gauge")
