"""Latencies as HdrHistograms: from 1 us to 10 minutes, with three digits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hdrh.histogram import HdrHistogram
from msgspec import Struct

LONGEST = 600_000_000
CURVE = (0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100)
"""Percentiles of the points of a curve."""


class Percentiles(Struct, frozen=True):
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float


def encoded(seconds: Iterable[float]) -> str:
    """A histogram of durations, in the text form that other HdrHistogram libraries read as well."""
    histogram = HdrHistogram(1, LONGEST, 3)
    for duration in seconds:
        histogram.record_value(min(max(round(duration * 1e6), 1), LONGEST))
    return str(histogram.encode().decode())


def added(texts: Sequence[str]) -> HdrHistogram:
    """The sum of several encoded histograms."""
    histogram = HdrHistogram(1, LONGEST, 3)
    for text in texts:
        histogram.decode_and_add(text)
    return histogram


def percentiles(text: str) -> Percentiles | None:
    """None when the histogram is empty."""
    histogram = added([text])
    if not histogram.get_total_count():
        return None
    return Percentiles(
        *(histogram.get_value_at_percentile(each) / 1e3 for each in (50, 90, 99, 99.9, 100))
    )


def curve(texts: Sequence[str]) -> list[tuple[float, float]]:
    """Percentile and milliseconds, of all histograms together. Percentiles for which there are too
    few values are left out."""
    histogram = added(texts)
    count = histogram.get_total_count()
    if not count:
        return []
    seen = [each for each in CURVE if each <= 100 * (1 - 1 / count)]
    return [(each, histogram.get_value_at_percentile(each) / 1e3) for each in seen]
