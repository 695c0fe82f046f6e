"""The access log: a line for each response, in the formats of both editions of KrakenD."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from logging import Logger
from typing import TypeAlias

import msgspec

from ...config.structs import Endpoint, Service
from ...core.asgi import Scope, find_header
from ...core.forwarding import build_client_address
from ...core.observed import FOUND, Observer, Report, ignore_response
from ...core.proxy import Request
from ...core.traced import TRACE, CurrentTrace
from ...telemetry.log_thread import LineThread
from ...telemetry.logs import escape, get_logger
from ..auth.settings import ApiKeysSettings
from .patterns import LinePatternError

ACCESS_LOG = "gateway.access"
"""The logger of the lines. Programs that embed the gateway give it a handler."""

PATTERNS = {
    "httpdCommon": '%{clientIP} - - [%{time}] "%{method} %{uri} %{proto}" %{statusCode} %{bytes}',
    "httpdCombined": '%{clientIP} - - [%{time}] "%{method} %{uri} %{proto}" %{statusCode} %{bytes} '
    '"%{header.Referer}" "%{header.User-Agent}"',
}
"""Of Apache httpd. ``httpdCombine`` is KrakenD's other name of the second one."""
HTTPD_TIME = "%d/%b/%Y:%H:%M:%S %z"

SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm"})
"""Of an ``Authorization`` a line has the scheme, if it is one of these."""
AUTHORIZATION = frozenset({"authorization", "proxy-authorization"})
CREDENTIALS = AUTHORIZATION | {"cookie", "x-api-key", "x-auth-token", "x-csrf-token"}
HIDDEN = "***"

_encode = msgspec.json.Encoder().encode
_VARIABLE = re.compile(r"%\{([^}.]*)(?:\.([^}]+))?\}")


class _Clock:
    """The present time as text, made once a second. ``fraction``: with microseconds behind it."""

    def __init__(self, write: Callable[[float], str], *, fraction: bool = False) -> None:
        self._write = write
        self._fraction = fraction
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._text = second, self._write(second)
        if self._fraction:
            return f"{self._text}.{int((now - second) * 1e6):06}Z"
        return self._text


gin_time = _Clock(lambda at: time.strftime("%Y/%m/%d - %H:%M:%S", time.localtime(at)))
utc_time = _Clock(lambda at: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)), fraction=True)
httpd_time = _Clock(lambda at: datetime.fromtimestamp(at).astimezone().strftime(HTTPD_TIME))


class Exchange:
    """A response, and the head of its request. ``seconds``: until its last byte was written."""

    __slots__ = ("head", "seconds", "size", "status")

    def __init__(self, head: Head, status: int, size: int, seconds: float) -> None:
        self.head = head
        self.status = status
        self.size = size
        self.seconds = seconds


class Secrets:
    """Where the requests of a service have credentials: ``headers``, in lower case, and parameters
    of the query string."""

    def __init__(self, service: Service | None = None) -> None:
        self.headers = set(CREDENTIALS)
        parameters = set()
        for identifier, strategy in _api_keys(service):
            if strategy != "query_string":
                self.headers.add(identifier.lower())
            if strategy != "header":
                parameters.add(re.escape(identifier or "key"))
        self._parameter = re.compile(rf"((?:^|&)(?:{'|'.join(parameters)})=)[^&]*")
        self._has_parameters = bool(parameters)

    def query(self, text: str) -> str:
        return self._parameter.sub(rf"\1{HIDDEN}", text) if self._has_parameters else text


def _api_keys(service: Service | None) -> Iterator[tuple[str, str]]:
    """Name and place of each API key; empty where the defaults hold."""
    parts: list[Service | Endpoint] = []
    if service is not None:
        parts = [service, *service.endpoints]
    for part in parts:
        for settings in part.extra_config.values():
            if isinstance(settings, ApiKeysSettings):
                yield settings.identifier, settings.strategy


class Head:
    """What lines contain of a request, as text without control characters. ``raw_uri``: with them,
    for those that escape themselves."""

    def __init__(self, scope: Scope, address: str, prefix: str, secrets: Secrets) -> None:
        query = secrets.query(scope["query_string"].decode(errors="replace"))
        path = scope["path"]
        self.scope = scope
        self.found: Sequence[str] = scope.get(FOUND, ())
        self.address = escape(address)
        self.prefix = prefix
        self.method = escape(scope["method"])
        self.path = escape(path)
        self.query = escape(query)
        self.raw_uri = f"{path}?{query}" if query else path
        self.uri = escape(self.raw_uri)
        self._secrets = secrets

    @property
    def endpoint(self) -> str:
        """The path of the endpoint, as in the configuration: known when the request is over. "" if
        there is none."""
        return self.found[0] if self.found else ""

    def header(self, name: str) -> str:
        value = find_header(self.scope["headers"], name.encode()).decode(errors="replace")
        if value and name in self._secrets.headers:
            scheme, _, credentials = value.partition(" ")
            is_scheme = credentials and name in AUTHORIZATION and scheme.lower() in SCHEMES
            return scheme if is_scheme else HIDDEN
        return escape(value)


WriteValue: TypeAlias = Callable[[Exchange], object]


def _quoted(text: str) -> str:
    """A text of the client, for a pattern that has it between quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _trace_ids(head: Head) -> tuple[str, str]:
    """The ids of the trace and of the span, as backends get them; "" if there is no trace."""
    current: CurrentTrace | None = head.scope.get(TRACE)
    trace = None if current is None else current.begin("")
    context = None if trace is None else trace.context
    return ("", "") if context is None else (context.trace_id, context.span_id)


def _scaled(factor: float) -> WriteValue:
    return lambda exchange: round(exchange.seconds * factor)


VALUES: Mapping[str, WriteValue] = {
    "prefix": lambda exchange: exchange.head.prefix,
    "time": lambda exchange: httpd_time(),
    "statusCode": lambda exchange: exchange.status,
    "status": lambda exchange: exchange.status,
    "bytes": lambda exchange: exchange.size,
    "latency": lambda exchange: duration(exchange.seconds),
    "latencyMs": _scaled(1e3),
    "latencyUs": _scaled(1e6),
    "latencyNs": _scaled(1e9),
    "clientIP": lambda exchange: exchange.head.address,
    "method": lambda exchange: _quoted(exchange.head.method),
    "path": lambda exchange: _quoted(exchange.head.path),
    "uri": lambda exchange: _quoted(exchange.head.uri),
    "query": lambda exchange: _quoted(exchange.head.query),
    "host": lambda exchange: _quoted(exchange.head.header("host")),
    "endpoint": lambda exchange: _quoted(exchange.head.endpoint),
    "requestId": lambda exchange: _quoted(exchange.head.header("x-request-id")),
    "traceId": lambda exchange: _trace_ids(exchange.head)[0],
    "spanId": lambda exchange: _trace_ids(exchange.head)[1],
    "scheme": lambda exchange: exchange.head.scope["scheme"],
    "proto": lambda exchange: f"HTTP/{exchange.head.scope['http_version']}",
}
"""The variables, except for ``header.NAME``."""


def build_access_observer(
    format_name: str, custom_format: str, missing: str, prefix: str, service: Service
) -> Observer | None:
    """The observer that writes the lines. None: the service has no access log. Raises
    :class:`LinePatternError`."""
    if service.router.disable_access_log:
        return None
    client_address = build_client_address(service)
    skipped = frozenset(service.router.logger_skip_paths)
    write = _writer(get_logger(ACCESS_LOG))
    has_ids = service.gateway.request_id
    prepare = build_format(format_name, custom_format, missing, has_ids=has_ids)
    secrets = Secrets(service)

    def observe(scope: Scope) -> Report:
        if scope["path"] in skipped:
            return ignore_response
        remote = (scope.get("client") or ("",))[0]
        request = Request("", "", {}, scope["headers"], remote=remote)
        line = prepare(Head(scope, client_address(request), prefix, secrets))
        return lambda status, size, seconds: write(line(status, size, seconds))

    return observe


def _writer(logger: Logger) -> Callable[[str], object]:
    """A record of a logger costs 5 us, a line that goes to its thread 0.1 us."""
    for handler in logger.handlers:
        if isinstance(handler, LineThread):
            return handler.line
    return lambda line: logger.info("%s", line.rstrip("\n"))


WriteLine: TypeAlias = Callable[[int, int, float], str]
"""Status, bytes of the body and seconds -> the line, with its line break."""
PrepareLine: TypeAlias = Callable[[Head], WriteLine]


def build_format(
    name: str, custom_format: str = "", missing: str = "-", *, has_ids: bool = False
) -> PrepareLine:
    """How lines look. ``has_ids``: requests have ids. Raises :class:`LinePatternError`."""
    if name == "json":
        return partial(_json, has_ids=has_ids)
    if name == "custom":
        return _build_pattern(custom_format, missing)
    pattern = PATTERNS.get("httpdCombined" if name == "httpdCombine" else name)
    return _default if pattern is None else _build_pattern(pattern, missing)


def _default(head: Head) -> WriteLine:
    """KrakenD's, which is gin's."""
    uri = escape(_encode(head.raw_uri.encode(errors="replace").decode()).decode())
    end = f" | {head.address:>15} | {head.method:<7}  {uri}\n"

    def line(status: int, size: int, seconds: float) -> str:
        return f"[GIN] {gin_time()} | {status:3} | {gin_duration(seconds):>8}{end}"

    return line


def _json(head: Head, has_ids: bool) -> WriteLine:
    fixed = {
        "client_ip": head.address,
        "method": head.method,
        "path": head.path,
        "query": head.query,
        "host": head.header("host"),
        "user_agent": head.header("user-agent"),
        "proto": f"HTTP/{head.scope['http_version']}",
    }
    if has_ids:
        fixed["request_id"] = head.header("x-request-id")
    rest = _encode(fixed).decode()[1:]
    found = head.found

    def line(status: int, size: int, seconds: float) -> str:
        return (
            f'{{"time":"{utc_time()}","logger":"{ACCESS_LOG}","status":{status},"bytes":{size},'
            f'"seconds":{seconds:.6f},"endpoint":{_as_json(*found)},{rest}\n'
        )

    def traced_line(status: int, size: int, seconds: float) -> str:
        trace_id, span_id = _trace_ids(head)
        text = line(status, size, seconds).removesuffix("}\n")
        return f'{text},"trace_id":"{trace_id}","span_id":"{span_id}"}}\n'

    return traced_line if TRACE in head.scope else line


@cache
def _as_json(endpoint: str = "") -> str:
    """The path of an endpoint as JSON, encoded once: 0.1 us less for each line."""
    return _encode(endpoint).decode()


def _build_pattern(pattern: str, missing: str) -> PrepareLine:
    pieces = [*_pieces(pattern)]

    def prepare(head: Head) -> WriteLine:
        def line(status: int, size: int, seconds: float) -> str:
            exchange = Exchange(head, status, size, seconds)
            texts = [
                piece if isinstance(piece, str) else str(piece(exchange)) or missing
                for piece in pieces
            ]
            return "".join(texts) + "\n"

        return line

    return prepare


def _pieces(pattern: str) -> Iterable[str | WriteValue]:
    end = 0
    for found in _VARIABLE.finditer(pattern):
        yield pattern[end : found.start()]
        yield _variable(found[1], found[2])
        end = found.end()
    if not end:
        raise LinePatternError("expected a pattern with variables, such as %{statusCode}")
    yield pattern[end:]


def _variable(name: str, part: str | None) -> WriteValue:
    if name == "header" and part:
        header = part.lower()
        return lambda exchange: _quoted(exchange.head.header(header))
    if name not in VALUES or part:
        known = ", ".join((*VALUES, "header.NAME"))
        text = name if part is None else f"{name}.{part}"
        raise LinePatternError(f'"{text}" is no variable of the access log: there are {known}')
    return VALUES[name]


def gin_duration(seconds: float) -> str:
    """As gin shortens it: to 10 µs above 1 ms, to 10 ms above 1 s, to 10 s above 1 min."""
    if seconds < 1e-3:
        return duration(seconds)
    step = 1e-5 if seconds < 1 else 1e-2 if seconds <= 60 else 10
    return duration(int(seconds / step + 1e-9) * step)


def duration(seconds: float) -> str:
    """As Go writes it: ``4.529µs``, ``1.5ms``, ``2m3.25s``."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns"
    if nanoseconds < 1_000_000:
        return f"{_digits(nanoseconds / 1e3, 3)}µs"
    if nanoseconds < 1_000_000_000:
        return f"{_digits(nanoseconds / 1e6, 6)}ms"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = f"{_digits(rest / 1e9, 9)}s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def _digits(number: float, places: int) -> str:
    return f"{number:.{places}f}".rstrip("0").rstrip(".")
