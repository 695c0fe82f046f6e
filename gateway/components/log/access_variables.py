"""The variables of the lines of the access log: ``%{statusCode}``, ``%{header.Accept}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ...amqp.settings import (
    DEFAULT_EXCHANGE,
    ConsumerSettings,
    ProducerSettings,
)
from ...config.structs import Service
from ...core.asgi import find_header
from ...core.observed import Observation
from ...core.outcomes import MessageOutcomes
from ...core.traced import TRACE, CurrentTrace
from ...telemetry.logs import escape
from .durations import LATENCIES, build_clock
from .heads import Head
from .patterns import LinePatternError

_VARIABLE = re.compile(r"%\{([^}.:]*)(?:\.([^}]+)|:([^}]+))?\}")
_encode = msgspec.json.Encoder().encode


class AccessEntry(NamedTuple):
    """A request that is over. ``seconds``: until the last byte of the response was written."""

    head: Head
    status: int
    size: int
    seconds: float
    seen: Observation

    @property
    def outcomes(self) -> MessageOutcomes | None:
        """What became of its messages; None: no endpoint has got it."""
        request = self.seen.request
        taken = None if request is None else request.taken
        return taken if isinstance(taken, MessageOutcomes) else None

    @property
    def trace_ids(self) -> tuple[str, str]:
        """The ids of the trace and of the span, as backends get them; "" if there is no trace."""
        request, current = self.seen.request, self.head.scope.get(TRACE)
        if request is not None:  # the line may be written when the connection has another request
            trace = request.trace
        else:
            trace = current.begin("") if isinstance(current, CurrentTrace) else None
        context = None if trace is None else trace.context
        return ("", "") if context is None else (context.trace_id, context.span_id)


class Variable(NamedTuple):
    """``%{NAME.PART}`` or ``%{NAME:LAYOUT}``; both may be empty."""

    name: str
    part: str = ""
    layout: str = ""


PREFIX = Variable("prefix")


def parse_pattern(pattern: str, example: str, prefix: str = "") -> list[str | Variable]:
    """Texts and variables, in turn. A line break at the end is left out, and ``%{prefix}`` is a
    text. Raises :class:`.LinePatternError`."""
    pattern = pattern.removesuffix("\n")
    pieces: list[str | Variable] = []
    end = 0
    for found in _VARIABLE.finditer(pattern):
        variable = Variable(*(each or "" for each in found.groups()))
        pieces += [pattern[end : found.start()], prefix if variable == PREFIX else variable]
        end = found.end()
    if not end:
        raise LinePatternError(f"expected a pattern with variables, such as {example}")
    return [*pieces, pattern[end:]]


def unknown_variable(variable: Variable, where: str, known: Iterator[str]) -> LinePatternError:
    part, layout = variable.part and f".{variable.part}", variable.layout and f":{variable.layout}"
    name = f"{variable.name}{part}{layout}"
    return LinePatternError(f'"{name}" is no variable of {where}: there are {", ".join(known)}')


def quoted(text: str) -> str:
    """A text of the client, for a pattern that has it between quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def claim_text(claims: Mapping[str, Any] | None, name: str) -> str:
    """A claim as a line shows it; "" if there is none."""
    value = None if claims is None else claims.get(name)
    if value is None:
        return ""
    return quoted(escape(value if isinstance(value, str) else _encode(value).decode()))


def _claim(entry: AccessEntry, name: str) -> str:
    request = entry.seen.request
    return "" if request is None else claim_text(request.claims, name)


HeadValue: TypeAlias = Callable[[Head], str]
EntryValue: TypeAlias = Callable[[AccessEntry], object]


def _redelivered(entry: AccessEntry) -> str:
    if entry.outcomes is None or not entry.outcomes.redelivered:
        return ""
    return "true" if any(entry.outcomes.redelivered) else "false"


def _message_ids(entry: AccessEntry) -> str:
    ids = () if entry.outcomes is None else entry.outcomes.ids
    return quoted(escape(",".join(ids)))


HEAD_VALUES: Mapping[str, HeadValue] = {
    "clientIP": lambda head: head.address,
    "method": lambda head: quoted(head.method),
    "path": lambda head: quoted(head.path),
    "uri": lambda head: quoted(head.uri),
    "query": lambda head: quoted(head.query),
    "host": lambda head: quoted(head.header("host")),
    "requestId": lambda head: quoted(head.header("x-request-id")),
    "scheme": lambda head: str(head.scope["scheme"]),
    "proto": lambda head: f"HTTP/{head.scope['http_version']}",
}
"""Equal for all requests with one head, so they are made once for these."""

ENTRY_VALUES: Mapping[str, EntryValue] = {
    "statusCode": lambda entry: entry.status,
    "status": lambda entry: entry.status,
    "bytes": lambda entry: entry.size,
    "endpoint": lambda entry: quoted(entry.head.endpoint),
    "completed": lambda entry: find_header(entry.seen.headers, b"x-krakend-completed").decode(
        "latin-1"
    ),
    "traceId": lambda entry: entry.trace_ids[0],
    "spanId": lambda entry: entry.trace_ids[1],
    "outcome": lambda entry: "" if entry.outcomes is None else entry.outcomes.outcome,
    "messageId": _message_ids,
    "redelivered": _redelivered,
}

OF_REQUESTS = frozenset({"jwt", "outcome", "messageId", "redelivered"})
"""Those that need the request of the endpoint (:class:`gateway.core.observed.Observation`)."""
PARTS: Mapping[str, Callable[[str], HeadValue]] = {
    "header": lambda name: lambda head: quoted(head.header(name.lower())),
    "query": lambda name: lambda head: quoted(head.parameter(name)),
}
"""Variables of a head that have a part: ``%{header.NAME}``."""


class AccessVariables:
    """The variables of the access log of a service. Its queues and exchanges are those of the
    endpoints, as in the configuration."""

    def __init__(self, service: Service | None = None) -> None:
        queues, exchanges = names_of_endpoints(service)
        self._entry_values: dict[str, EntryValue] = {
            **ENTRY_VALUES,
            "queue": lambda entry: _of_endpoint(queues, entry.head),
            "exchange": lambda entry: _of_endpoint(exchanges, entry.head),
        }

    @property
    def known(self) -> Iterator[str]:
        yield from ("prefix", "time", "time:LAYOUT", *LATENCIES, *HEAD_VALUES)
        yield from (*self._entry_values, "header.NAME", "query.NAME", "jwt.CLAIM")

    def of_head(self, variable: Variable) -> HeadValue | None:
        """How its text is made of a head; None: it needs more than that."""
        name, part, layout = variable
        if layout:
            return None
        if part:
            return PARTS[name](part) if name in PARTS else None
        return HEAD_VALUES.get(name)

    def of_entry(self, variable: Variable) -> EntryValue:
        """How any other variable is made. Raises :class:`.LinePatternError`."""
        name, part, layout = variable
        if name == "time" and not part:
            clock = build_clock(layout)
            return lambda entry: clock()
        if name == "jwt" and part:
            return lambda entry: _claim(entry, part)
        if part or layout or name not in (self._entry_values.keys() | LATENCIES):
            raise unknown_variable(variable, "the access log", self.known)
        if name in LATENCIES:
            write = LATENCIES[name]
            return lambda entry: write(entry.seconds)
        return self._entry_values[name]


Names: TypeAlias = Mapping[tuple[str, str], str]
"""Of queues or exchanges, by the method and the path of the endpoint; several: with commas."""


def _of_endpoint(names: Names, head: Head) -> str:
    return names.get((head.scope["method"], head.endpoint), "")


def names_of_endpoints(service: Service | None) -> tuple[Names, Names]:
    """The queues and the exchanges of endpoints."""
    queues, exchanges = {}, {}
    for endpoint in () if service is None else service.endpoints:
        key = endpoint.method, endpoint.endpoint
        settings = [
            each
            for backend in endpoint.backend
            for each in backend.extra_config.values()
            if isinstance(each, ConsumerSettings | ProducerSettings)
        ]
        queues[key] = _joined(each.name for each in settings if isinstance(each, ConsumerSettings))
        exchanges[key] = _joined(each.exchange or DEFAULT_EXCHANGE for each in settings)
    return queues, exchanges


def _joined(names: Iterator[str]) -> str:
    return quoted(escape(",".join(dict.fromkeys(names))))
