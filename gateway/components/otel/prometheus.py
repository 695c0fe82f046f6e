"""Metrics in the text format of Prometheus (0.0.4), sorted as KrakenD's exporter sorts them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from ...telemetry.metrics import FamilySample, Labels, Sample

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

UNITS = {"s": "_seconds", "By": "_bytes"}
"""Suffixes of units. KrakenD has units that are none, and have no suffix."""

_OTHERS = re.compile(r"[^a-zA-Z0-9_]")
"""What names of metrics and of labels do not have. Prometheus keeps colons for rules."""
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def exposition(families: Iterable[FamilySample], target: Labels) -> Iterator[str]:
    """The text, in pieces of a line or two. ``target``: labels of ``target_info``: name and version
    of the service."""
    info = FamilySample("target_info", "gauge", (Sample(target, 1),), help="Target metadata")
    named = {metric_name(each): each for each in (*_with_scopes(families), info)}
    for name in sorted(named):
        yield from _family(name, named[name])


def metric_name(family: FamilySample) -> str:
    """``http.server.duration`` is ``http_server_duration``."""
    name = sanitized(family.name) + UNITS.get(family.unit, "")
    if family.kind == "counter" and not name.endswith("_total"):
        name += "_total"
    return name


def sanitized(name: str) -> str:
    """The name with ``_`` in place of what Prometheus does not allow."""
    name = _OTHERS.sub("_", name)
    return f"_{name[1:]}" if name[:1].isdigit() else name


def _with_scopes(families: Iterable[FamilySample]) -> Iterator[FamilySample]:
    """The families, and ``otel_scope_info``, which names their scopes."""
    scopes = set()
    for family in families:
        if family.scope:
            scopes.add(family.scope)
        yield family
    if scopes:
        samples = tuple(Sample(_scope(each), 1) for each in sorted(scopes))
        text = "Instrumentation Scope metadata"
        yield FamilySample("otel_scope_info", "gauge", samples, help=text)


def _scope(scope: str) -> Labels:
    return (("otel_scope_name", scope), ("otel_scope_version", ""))


def _family(name: str, family: FamilySample) -> Iterator[str]:
    yield f"# HELP {name} {_escape_help(family.help)}\n# TYPE {name} {family.kind}\n"
    scope = _scope(family.scope) if family.scope else ()
    series = [(_labels(sample.labels + scope), sample) for sample in family.samples]
    series.sort(key=lambda each: (len(each[0]), [value for _, value in each[0]]))
    for labels, sample in series:
        pairs = ",".join(f'{label}="{value.translate(_ESCAPES)}"' for label, value in labels)
        if family.kind == "histogram":
            yield from _histogram(name, pairs, family.bounds, sample)
        else:
            yield f"{name}{_braced(pairs)} {number(sample.value)}\n"


def _histogram(name: str, pairs: str, bounds: Iterable[float], sample: Sample) -> Iterator[str]:
    before = f"{pairs}," if pairs else ""
    limits = [*map(number, bounds), "+Inf"]
    counts = [*accumulate(sample.counts)]
    for limit, count in zip(limits, counts, strict=True):
        yield f'{name}_bucket{{{before}le="{limit}"}} {count}\n'
    yield f"{name}_sum{_braced(pairs)} {number(sample.value)}\n"
    yield f"{name}_count{_braced(pairs)} {counts[-1]}\n"


def _labels(labels: Labels) -> Labels:
    """Sorted, under names that Prometheus allows. The values of names that become equal are
    joined."""
    values = defaultdict(list)
    for name, value in labels:
        values[sanitized(name)].append(value)
    return tuple((name, ";".join(sorted(each))) for name, each in sorted(values.items()))


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def number(value: float) -> str:
    """As Go writes it: 524288, 1.048576e+06, 0.000981174, 1.9509e-05."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    text = repr(float(value))
    mantissa, _, exponent = text.partition("e")
    if not exponent and abs(value) >= 1e6:
        digits = mantissa.removesuffix(".0")
        whole, _, fraction = digits.partition(".")
        sign = "-" if whole.startswith("-") else ""
        whole = whole.removeprefix("-")
        rest = (whole[1:] + fraction).rstrip("0")
        return f"{sign}{whole[0]}{'.' + rest if rest else ''}e+{len(whole) - 1:02}"
    return text
