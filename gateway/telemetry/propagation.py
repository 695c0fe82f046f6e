"""Trace contexts in headers: how they are read, and how they are written. Pure.

W3C Trace Context (https://www.w3.org/TR/trace-context/), W3C Baggage
(https://www.w3.org/TR/baggage/), and B3 (https://github.com/openzipkin/b3-propagation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from .spans import SpanContext

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

VARIABLE = "OTEL_PROPAGATORS"
"""The environment variable that names the formats, separated by commas.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/"""
DEFAULT_FORMATS = ("tracecontext", "baggage")

MAX_CONTEXT = 512
"""Bytes of a header with a context: no format needs more than 100, later versions may. A longer
one is not read, so that no client chooses how much work it is."""
MAX_TRACESTATE = 512
"""Characters that every system must pass on (Trace Context, 3.3.1.5). A longer one is dropped."""
MAX_STATE_MEMBERS = 32
"""Members of a list (Trace Context, 3.3.1.1). A longer one is dropped."""
MAX_BAGGAGE = 8192
"""Bytes that every system must pass on (Baggage, 3.3.2). A longer one is dropped."""

_PARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})"
    rb"-[0-9a-f]([0-9a-f])(-.*)?"
)
"""Version, trace id, span id, the last digit of the flags, and what only later versions have."""
_STATE_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_\-*/]{0,255}(?:@[a-z0-9][a-z0-9_\-*/]{0,13})?"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_BAGGAGE = re.compile(rb"[\t\x20-\x7e]+")
_TRACE_ID = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{16}")
_SPAN_ID = re.compile(rb"[0-9a-f]{16}")

NO_TRACE_ID, NO_SPAN_ID = "0" * 32, "0" * 16
SAMPLED = b"13579bdf"
"""Last digits of flags whose last bit is set."""


class Incoming(NamedTuple):
    """What a request or a message brings with it. ``parent``: None if it has no valid context.
    ``baggage``: b"" for none."""

    parent: SpanContext | None = None
    baggage: bytes = b""


NOTHING = Incoming()
NO_NAMES = frozenset[bytes]()

Extract: TypeAlias = Callable[[Mapping[bytes, bytes]], SpanContext | None]
"""The headers of the format, each as one value -> the context; None if it is missing or invalid."""
Inject: TypeAlias = Callable[[SpanContext], list[tuple[bytes, bytes]]]
"""A context -> its headers, in a new list."""


class Format(NamedTuple):
    """A format of contexts. ``names``: of its headers, in lower case."""

    names: tuple[bytes, ...]
    extract: Extract
    inject: Inject


def _extract_w3c(values: Mapping[bytes, bytes]) -> SpanContext | None:
    value = values.get(b"traceparent", b"")
    found = _PARENT.fullmatch(value.strip(b" \t")) if len(value) <= MAX_CONTEXT else None
    if found is None:
        return None
    version, trace_id, span_id, digit, rest = found.groups()
    if rest is not None and version == b"00":
        return None
    state = values.get(b"tracestate")
    return SpanContext(
        trace_id.decode(), span_id.decode(), digit in SAMPLED, _state(state) if state else ""
    )


def _state(value: bytes) -> str:
    """The value of ``tracestate``; "" if it is not valid."""
    if len(value) > MAX_TRACESTATE:
        return ""
    text = value.decode("latin-1")
    members = [member for each in text.split(",") if (member := each.strip(" \t"))]
    is_valid = len(members) <= MAX_STATE_MEMBERS and all(map(_STATE_MEMBER.fullmatch, members))
    return text if is_valid else ""


def _inject_w3c(context: SpanContext) -> list[tuple[bytes, bytes]]:
    trace_id, span_id, is_sampled, state = context
    flags = "01" if is_sampled else "00"
    headers = [(b"traceparent", f"00-{trace_id}-{span_id}-{flags}".encode())]
    if state:
        headers.append((b"tracestate", state.encode()))
    return headers


def _extract_b3(values: Mapping[bytes, bytes]) -> SpanContext | None:
    value = values.get(b"b3", b"")
    parts = value.split(b"-", 4) if len(value) <= MAX_CONTEXT else []
    if not 2 <= len(parts) <= 4:
        return None
    return _b3_context(parts[0], parts[1], parts[2] if len(parts) > 2 else b"")


def _inject_b3(context: SpanContext) -> list[tuple[bytes, bytes]]:
    return [(b"b3", f"{context.trace_id}-{context.span_id}-{context.is_sampled:d}".encode())]


def _extract_b3_multi(values: Mapping[bytes, bytes]) -> SpanContext | None:
    sampled = values.get(b"x-b3-sampled", b"")
    if values.get(b"x-b3-flags") == b"1":
        sampled = b"d"
    return _b3_context(values.get(b"x-b3-traceid", b""), values.get(b"x-b3-spanid", b""), sampled)


def _inject_b3_multi(context: SpanContext) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-b3-traceid", context.trace_id.encode()),
        (b"x-b3-spanid", context.span_id.encode()),
        (b"x-b3-sampled", b"%d" % context.is_sampled),
    ]


def _b3_context(trace_id: bytes, span_id: bytes, sampled: bytes) -> SpanContext | None:
    """``sampled``: ``1``, ``0``, ``d`` (debug), or empty: then it is as not sampled."""
    if len(trace_id) > 32 or len(span_id) > 16:
        return None
    trace_id, span_id = trace_id.lower(), span_id.lower()
    if not _TRACE_ID.fullmatch(trace_id) or not _SPAN_ID.fullmatch(span_id):
        return None
    context = SpanContext(
        trace_id.decode().zfill(32), span_id.decode(), sampled in (b"1", b"d", b"true")
    )
    return None if context.trace_id == NO_TRACE_ID or context.span_id == NO_SPAN_ID else context


BAGGAGE = b"baggage"

FORMATS = {
    "tracecontext": Format((b"traceparent", b"tracestate"), _extract_w3c, _inject_w3c),
    "b3": Format((b"b3",), _extract_b3, _inject_b3),
    "b3multi": Format(
        (b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags", b"x-b3-parentspanid"),
        _extract_b3_multi,
        _inject_b3_multi,
    ),
}
"""By their names in the environment variable. There is also ``baggage``, which is no context."""

LISTS = frozenset({b"tracestate", BAGGAGE})
"""Headers whose lines are one list. A context that comes twice is not valid."""


class Propagation:
    """Reads and writes the headers of some formats. ``formats``: their names. ``names``: those of
    the headers, in lower case. ``writes_w3c_only``: it writes contexts as Trace Context says, and
    in no other format."""

    def __init__(self, formats: Iterable[str] = DEFAULT_FORMATS) -> None:
        listed = tuple(formats)
        self._formats = [FORMATS[name] for name in listed if name in FORMATS]
        self.writes_w3c_only = self._formats == [FORMATS["tracecontext"]]
        self._injects = tuple(each.inject for each in self._formats)
        self._with_baggage = BAGGAGE.decode() in listed
        names = {name for each in self._formats for name in each.names}
        self.names = frozenset(names | {BAGGAGE} if self._with_baggage else names)

    def extract(self, headers: Headers) -> Incoming:
        """What the headers say. Of several valid contexts the last format counts."""
        found = [header for header in headers if header[0] in self.names]
        if not found:
            return NOTHING
        values = dict(found)
        if len(values) < len(found):
            values = _joined(found)
        parent = None
        for each in self._formats:
            parent = each.extract(values) or parent
        baggage = values.get(BAGGAGE, b"")
        if baggage and (len(baggage) > MAX_BAGGAGE or not _BAGGAGE.fullmatch(baggage)):
            baggage = b""
        return Incoming(parent, baggage)

    def inject(self, context: SpanContext | None, baggage: bytes) -> list[tuple[bytes, bytes]]:
        """The headers of a context and its baggage. Names in lower case."""
        headers: list[tuple[bytes, bytes]] = []
        if context is not None:
            for inject in self._injects:
                headers = headers + inject(context) if headers else inject(context)
        if baggage and self._with_baggage:
            headers.append((BAGGAGE, baggage))
        return headers


def _joined(headers: Headers) -> dict[bytes, bytes]:
    """The lines of each header as one value. "" if a header that is no list has several."""
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lines.setdefault(name, []).append(value)
    return {
        name: b",".join(found) if name in LISTS or len(found) == 1 else b""
        for name, found in lines.items()
    }


def formats_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The formats that the environment names. ``none``: there are none. Names that are not known
    here are left out."""
    named = [each.strip() for each in environ.get(VARIABLE, "").split(",") if each.strip()]
    if not named:
        return DEFAULT_FORMATS
    known = (*FORMATS, BAGGAGE.decode())
    return () if "none" in named else tuple(each for each in named if each in known)
