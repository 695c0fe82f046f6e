"""The log of backends: a line for each request to one (``backend`` of ``telemetry/logging``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from ...amqp.connection.urls import parse_broker_url
from ...amqp.settings import DEFAULT_EXCHANGE, ConsumerSettings, ProducerSettings
from ...config.structs import Backend
from ...core.asgi import Headers
from ...core.observed_parts import ObservePart
from ...core.proxy import Part, Request, Response
from ...core.request_ids import REQUEST_ID
from ...http.observed import ObservedRequest
from ...telemetry.logs import escape, get_logger
from .access_variables import (
    Variable,
    claim_text,
    parse_pattern,
    quoted,
    unknown_variable,
)
from .durations import LATENCIES, build_clock
from .heads import Secrets, shown_header

log = get_logger("gateway.backend")

DEFAULT_PATTERN = "%{prefix}%{time} |%{statusCode}| %{latencyMs} | %{method} %{host} %{path}"
"""KrakenD Enterprise's (its schema, telemetry/backend_log.json)."""


class BackendLogSettings(Struct, frozen=True, kw_only=True):
    custom_format: str = DEFAULT_PATTERN
    """The pattern of a line."""
    log_with_level: str = "INFO"
    """The level of the lines: DEBUG, INFO, WARNING, ERROR or CRITICAL. They are written if the
    ``level`` of the log is not above it."""
    no_value: str = "-"
    """The text in place of a value that there is not."""
    prefix: str = ""
    """The beginning of each line."""


class BackendEntry(NamedTuple):
    """A request to a backend that is over. ``status``: 0 if there is no response. ``headers``: of
    the response. ``cause``: the request of the endpoint. ``error``: why it has failed."""

    method: str
    scheme: str
    host: str
    target: str
    status: int
    seconds: float
    headers: Headers
    cause: Request | None
    error: str


EntryText: TypeAlias = Callable[[BackendEntry], str]


def _request_id(entry: BackendEntry) -> str:
    cause = entry.cause
    return "" if cause is None else (cause.header(REQUEST_ID) or b"").decode("latin-1")


TEXTS: Mapping[str, EntryText] = {
    "statusCode": lambda entry: str(entry.status or ""),
    "method": lambda entry: entry.method,
    "scheme": lambda entry: entry.scheme,
    "host": lambda entry: entry.host,
    "path": lambda entry: entry.target.partition("?")[0],
    "query": lambda entry: entry.target.partition("?")[2],
    "uri": lambda entry: entry.target,
    "error": lambda entry: entry.error,
    "requestId": _request_id,
}


class BackendLog:
    """Writes the lines of one backend. Raises :class:`.patterns.LinePatternError`."""

    def __init__(self, settings: BackendLogSettings, endpoint: str, secrets: Secrets) -> None:
        self._endpoint = endpoint
        self._secrets = secrets
        self._missing = settings.no_value or "-"
        self._level = logging.getLevelNamesMapping().get(
            settings.log_with_level.upper(), logging.INFO
        )
        self._pieces = [
            each if isinstance(each, str) else self._text_of(each)
            for each in parse_pattern(settings.custom_format, "%{statusCode}", settings.prefix)
        ]

    @property
    def _known(self) -> Iterator[str]:
        yield from ("prefix", "time", "time:LAYOUT", "endpoint", *LATENCIES, *TEXTS)
        yield from ("header.NAME", "jwt.CLAIM")

    def _text_of(self, variable: Variable) -> EntryText:
        name, part, layout = variable
        if name == "time" and not part:
            clock = build_clock(layout)
            return lambda entry: clock()
        if name == "header" and part:
            header, secret = part.lower(), self._secrets.headers
            return lambda entry: quoted(shown_header(entry.headers, header, secret))
        if name == "jwt" and part:
            return lambda entry: claim_text(entry.cause.claims if entry.cause else None, part)
        if part or layout or name not in {*TEXTS, *LATENCIES, "endpoint"}:
            raise unknown_variable(variable, "the log of backends", self._known)
        if name == "endpoint":
            return lambda entry: self._endpoint
        if name in LATENCIES:
            write = LATENCIES[name]
            return lambda entry: write(entry.seconds)
        text = TEXTS[name]
        return lambda entry: quoted(escape(text(entry)))

    @property
    def is_on(self) -> bool:
        """Whether the log has lines of this level now."""
        return log.isEnabledFor(self._level)

    def write(self, entry: BackendEntry) -> None:
        line = "".join(
            [
                each if isinstance(each, str) else each(entry) or self._missing
                for each in self._pieces
            ]
        )
        fields = {"endpoint": self._endpoint, "status": entry.status}
        log.log(self._level, "%s", line, extra={"fields": fields})

    def show_target(self, target: str) -> str:
        """A target whose query string has no credentials of clients."""
        path, mark, query = target.partition("?")
        return f"{path}{mark}{self._secrets.query(query)}" if query else target


class HttpBackendLog:
    """Hears of the requests of one backend: a :class:`gateway.http.observed.RequestObserver`."""

    def __init__(self, lines: BackendLog) -> None:
        self._lines = lines

    def responded(self, request: ObservedRequest) -> None:
        self._write(request, "")

    def failed(self, request: ObservedRequest) -> None:
        gone = "the client has disconnected" if request.is_client_gone else "no response in time"
        self._write(request, gone if request.failure is None else str(request.failure))

    def body_read(
        self, request: ObservedRequest, size: int, seconds: float, *, has_failed: bool
    ) -> None:
        """The line is written already."""

    def _write(self, request: ObservedRequest, error: str) -> None:
        if self._lines.is_on:
            outgoing, origin = request.outgoing, request.origin
            self._lines.write(
                BackendEntry(
                    request.method,
                    origin.scheme,
                    origin.authority,
                    self._lines.show_target(outgoing.target),
                    request.status,
                    perf_counter() - request.started,
                    request.headers,
                    outgoing.cause,
                    error,
                )
            )


def build_part_log(lines: BackendLog, backend: Backend) -> ObservePart | None:
    """Writes a line for each message that a backend takes or publishes. None: it is no backend of
    RabbitMQ."""
    for settings in backend.extra_config.values():
        if isinstance(settings, ConsumerSettings):
            return _part_log(lines, "receive", settings.name, backend)
        if isinstance(settings, ProducerSettings):
            return _part_log(lines, "publish", settings.exchange or DEFAULT_EXCHANGE, backend)
    return None


def _part_log(lines: BackendLog, method: str, target: str, backend: Backend) -> ObservePart:
    url = parse_broker_url(backend.host[0]).aiormq
    host = f"{url.host}:{url.port}"

    def observe(request: Request, part: Part | None, seconds: float) -> None:
        if not lines.is_on:
            return
        error, status = "the client has disconnected", 0
        if part is not None:
            status = part.status
            error = "" if isinstance(part, Response) else str(part)
        lines.write(
            BackendEntry(method, url.scheme, host, target, status, seconds, (), request, error)
        )

    return observe
