"""Metrics: numbers that the gateway counts, and exporters read.

Counting is an addition to a plain number. Each number is written by one thread only, so it needs no
lock. Nothing here knows an exporter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from .logs import get_logger

log = get_logger("gateway.metrics")

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

Across: TypeAlias = Literal["sum", "min", "max"]
"""How the numbers of several processes become one."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


class Value:
    """A counter, or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, number: float) -> None:
        self.value += number


class Histogram:
    """How often a value was in each bucket.

    ``bounds``: the upper bounds of the buckets, ascending. A value that is equal to a bound belongs
    to its bucket. ``counts``: one more than ``bounds``: the last one is of values above all bounds.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Sample(Struct, frozen=True, array_like=True):
    """One series at one moment. ``counts``: of the buckets of a histogram, whose ``value`` is the
    sum; otherwise empty."""

    labels: Labels
    value: float
    counts: tuple[int, ...] = ()


class FamilySample(Struct, frozen=True):
    """All series of one name at one moment. ``name``, ``kind``, ``unit``, ``help``, ``scope``,
    ``bounds`` and ``across``: as of :class:`Family`."""

    name: str
    kind: Kind
    samples: tuple[Sample, ...]
    unit: str = ""
    help: str = ""
    scope: str = ""
    bounds: tuple[float, ...] = ()
    across: Across = "sum"


class Family:
    """All series of one name.

    ``name``: as OpenTelemetry writes it, ``http.server.duration``. ``unit``: as there: ``s``,
    ``By``; "" for none. ``scope``: the OpenTelemetry scope; "" for none. ``bounds``: of histograms.
    ``across``: how the numbers of several workers become one; None: the sum, but of gauges whose
    name ends in ``start_time_seconds`` the smallest and in ``timestamp_seconds`` the largest.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        *,
        unit: str = "",
        help: str = "",  # noqa: A002, the word of Prometheus
        scope: str = "",
        bounds: Sequence[float] = (),
        across: Across | None = None,
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.unit = unit
        self.help = help
        self.scope = scope
        self.bounds = tuple(bounds)
        self.across: Across = _across(name, kind) if across is None else across
        self._values: dict[Labels, Value] = {}
        self._histograms: dict[Labels, list[Histogram]] = {}

    def value(self, labels: Mapping[str, str]) -> Value:
        """The counter or gauge with these labels, made at first use."""
        return self._values.setdefault(_sorted(labels), Value())

    def histogram(self, labels: Mapping[str, str]) -> Histogram:
        """The histogram with these labels, made at first use."""
        histograms = self._histograms.setdefault(_sorted(labels), [])
        if not histograms:
            histograms.append(Histogram(self.bounds))
        return histograms[0]

    def include(self, labels: Mapping[str, str], histogram: Histogram) -> None:
        """Add a histogram with the same bounds to the series with these labels. It may be part of
        series of several families. A series is the sum of its histograms: of a counter, how many
        values they have."""
        self._histograms.setdefault(_sorted(labels), []).append(histogram)

    def clear(self) -> None:
        """Forget all series: those of a gauge are read anew each time."""
        self._values.clear()

    def sample(self) -> FamilySample:
        """Histograms without a value are left out."""
        # Copies first: another thread may add a series at the same time.
        samples = [Sample(labels, each.value) for labels, each in self._values.copy().items()]
        for labels, histograms in self._histograms.copy().items():
            total, counts = _sum_of(histograms)
            if self.kind == "histogram" and any(counts):
                samples.append(Sample(labels, total, counts))
            elif any(counts):
                samples.append(Sample(labels, sum(counts)))
        return FamilySample(
            self.name,
            self.kind,
            tuple(samples),
            self.unit,
            self.help,
            self.scope,
            self.bounds,
            self.across,
        )


def _across(name: str, kind: Kind) -> Across:
    if kind == "gauge" and name.endswith("start_time_seconds"):
        return "min"
    if kind == "gauge" and name.endswith("timestamp_seconds"):
        return "max"
    return "sum"


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _sum_of(histograms: Sequence[Histogram]) -> tuple[float, tuple[int, ...]]:
    """The sum of all values, and the counts of the buckets."""
    columns = zip(*(each.counts for each in histograms), strict=True)
    return sum(each.sum for each in histograms), tuple(map(sum, columns))


Collect: TypeAlias = Callable[[], object]
"""Brings families up to date before they are read: gauges of what is now."""


class Reading(NamedTuple):
    """A number that something keeps anyway, when it is read. ``name``: of one of
    :data:`gateway.components.otel.readings.FAMILIES`. Values of equal labels are added."""

    name: str
    labels: Mapping[str, str]
    value: float


@runtime_checkable
class Measurable(Protocol):
    """Something with readings: a resource of the gateway may have this method."""

    def readings(self) -> Iterable[Reading]:
        """Called on the app side. It waits for nothing, and only reads plain numbers: they may
        belong to another thread."""
        ...


class Registry:
    """All families of a gateway. ``collectors``: called before each reading, on the app side.
    ``readers``: as :meth:`Measurable.readings`, of parts of the gateway that are not resources."""

    def __init__(self) -> None:
        self.collectors: list[Collect] = []
        self.readers: list[Callable[[], Iterable[Reading]]] = []
        self._families: dict[str, Family] = {}
        self._failed: set[Callable[[], object]] = set()

    def family(self, family: Family) -> Family:
        """Add a family. If there is one of that name already, that one is returned."""
        return self._families.setdefault(family.name, family)

    def samples(self) -> Iterator[FamilySample]:
        """The families that have a series, sorted by name."""
        for collect in self.collectors:
            with self.kept_apart(collect):
                collect()
        for _, family in sorted(self._families.items()):
            sample = family.sample()
            if sample.samples:
                yield sample

    @contextmanager
    def kept_apart(self, part: Callable[[], object]) -> Iterator[None]:
        """An error of ``part``, which is called in the block, hides no other metrics, and ends
        neither a scrape nor a worker. Its first error is logged."""
        try:
            yield
        except Exception:
            if part not in self._failed:
                self._failed.add(part)
                log.exception("some metrics cannot be read: the next such errors are not logged")
