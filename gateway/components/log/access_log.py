"""The access log: a line for each response, in the formats of both editions of KrakenD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from logging import Logger
from random import random
from typing import TypeAlias

import msgspec

from ...config.structs import Service
from ...core.asgi import Scope
from ...core.forwarding import build_client_address
from ...core.observed import Observation, Observer, Report, ignore_response
from ...core.outcomes import MessageOutcomes
from ...core.proxy import Request
from ...core.traced import TRACE
from ...telemetry.log_thread import LineThread
from ...telemetry.logs import escape, get_logger
from .access_variables import (
    OF_REQUESTS,
    AccessEntry,
    AccessVariables,
    EntryValue,
    HeadValue,
    Variable,
    parse_pattern,
)
from .durations import HTTPD_LAYOUT, gin_duration, gin_time, utc_time
from .heads import Head, Secrets

ACCESS_LOG = "gateway.access"
"""The logger of the lines. Programs that embed the gateway give it a handler."""

COMMON = (
    f'%{{clientIP}} - - [%{{time:{HTTPD_LAYOUT}}}] "%{{method}} %{{uri}} %{{proto}}" '
    "%{statusCode} %{bytes}"
)
PATTERNS = {
    "httpdCommon": COMMON,
    "httpdCombined": f'{COMMON} "%{{header.Referer}}" "%{{header.User-Agent}}"',
}
"""Of Apache httpd. ``httpdCombine`` is KrakenD's other name of the second one."""

_encode = msgspec.json.Encoder().encode


class AccessFormat(msgspec.Struct, frozen=True):
    """How lines look. ``name``: of the format; ``pattern``: of the format ``custom``; ``missing``:
    written in place of a missing value."""

    name: str = "default"
    pattern: str = ""
    missing: str = "-"

    @property
    def variables(self) -> frozenset[str]:
        """The names of the variables of ``pattern``. Raises :class:`.patterns.LinePatternError`."""
        if self.name != "custom":
            return frozenset()
        pieces = parse_pattern(self.pattern, "%{statusCode}")
        return frozenset(each.name for each in pieces if isinstance(each, Variable))

    @property
    def reads_requests(self) -> bool:
        """Whether lines have anything of the requests of endpoints. Raises as ``variables``."""
        return bool(self.variables & OF_REQUESTS)


def build_access_observer(
    access_format: AccessFormat, prefix: str, service: Service, *, sample: float = 1.0
) -> Observer | None:
    """The observer that writes the lines. ``sample``: the share of the responses below 400 that
    have a line. None: the service has no access log. Raises
    :class:`.patterns.LinePatternError`."""
    if service.router.disable_access_log:
        return None
    client_address = build_client_address(service)
    skipped = frozenset(service.router.logger_skip_paths)
    write = _writer(get_logger(ACCESS_LOG))
    prepare = build_format(
        access_format, AccessVariables(service), prefix, has_ids=service.gateway.request_id
    )
    secrets = Secrets(service)
    report_of = _settled_report if "outcome" in access_format.variables else _report

    def observe(scope: Scope) -> Report:
        if scope["path"] in skipped:
            return ignore_response
        remote = (scope.get("client") or ("",))[0]
        request = Request("", "", {}, scope["headers"], remote=remote)
        return report_of(prepare(Head(scope, client_address(request), secrets)), write)

    return observe if sample >= 1 else _sampled(observe, sample)


def _writer(logger: Logger) -> Callable[[str], object]:
    """A record of a logger costs 5 us, a line that goes to its thread 0.1 us."""
    for handler in logger.handlers:
        if isinstance(handler, LineThread):
            return handler.line
    return lambda line: logger.info("%s", line.rstrip("\n"))


def _report(line: WriteLine, write: Callable[[str], object]) -> Report:
    return lambda status, size, seconds, seen: write(line(status, size, seconds, seen))


def _settled_report(line: WriteLine, write: Callable[[str], object]) -> Report:
    """The line is written when it is known what becomes of the messages."""

    def report(status: int, size: int, seconds: float, seen: Observation) -> None:
        def finish() -> None:
            write(line(status, size, seconds, seen))

        taken = None if seen.request is None else seen.request.taken
        if isinstance(taken, MessageOutcomes):
            taken.when_settled(finish)
        else:
            finish()

    return report


def _sampled(observe: Observer, share: float) -> Observer:
    """Each status from 400 on is reported, and a random share of the others."""

    def observe_some(scope: Scope) -> Report:
        report = observe(scope)

        def report_some(status: int, size: int, seconds: float, seen: Observation) -> None:
            if status >= 400 or random() < share:  # noqa: S311
                report(status, size, seconds, seen)

        return report_some

    return observe_some


WriteLine: TypeAlias = Callable[[int, int, float, Observation], str]
"""What a :data:`gateway.core.observed.Report` gets -> the line, with its line break."""
PrepareLine: TypeAlias = Callable[[Head], WriteLine]


def build_format(
    access_format: AccessFormat,
    variables: AccessVariables,
    prefix: str = "",
    *,
    has_ids: bool = False,
) -> PrepareLine:
    """``has_ids``: requests have ids. Raises :class:`.patterns.LinePatternError`."""
    name, pattern = access_format.name, access_format.pattern
    if name == "json":
        return partial(_json, has_ids=has_ids)
    if name != "custom":
        known = PATTERNS.get("httpdCombined" if name == "httpdCombine" else name)
        if known is None:
            return _default
        pattern = known
    pieces = parse_pattern(pattern, "%{statusCode}", prefix)
    return _build_pattern(pieces, variables, access_format.missing or "-")


def _default(head: Head) -> WriteLine:
    """KrakenD's, which is gin's."""
    uri = escape(_encode(head.raw_uri.encode(errors="replace").decode()).decode())
    end = f" | {head.address:>15} | {head.method:<7}  {uri}\n"

    def line(status: int, size: int, seconds: float, seen: Observation) -> str:
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

    def line(status: int, size: int, seconds: float, seen: Observation) -> str:
        return (
            f'{{"time":"{utc_time()}","logger":"{ACCESS_LOG}","status":{status},"bytes":{size},'
            f'"seconds":{seconds:.6f},"endpoint":{_as_json(*found)},{rest}\n'
        )

    def traced_line(status: int, size: int, seconds: float, seen: Observation) -> str:
        trace_id, span_id = AccessEntry(head, status, size, seconds, seen).trace_ids
        text = line(status, size, seconds, seen).removesuffix("}\n")
        return f'{text},"trace_id":"{trace_id}","span_id":"{span_id}"}}\n'

    return traced_line if TRACE in head.scope else line


@cache
def _as_json(endpoint: str = "") -> str:
    """The path of an endpoint as JSON, encoded once: 0.1 us less for each line."""
    return _encode(endpoint).decode()


def _build_pattern(
    parsed: Sequence[str | Variable], variables: AccessVariables, missing: str
) -> PrepareLine:
    pieces: list[str | HeadValue] = []
    values: dict[int, EntryValue] = {}
    for each in parsed:
        value = each if isinstance(each, str) else variables.of_head(each)
        if value is None and isinstance(each, Variable):
            values[len(pieces)] = variables.of_entry(each)
        pieces.append(value or "")

    def prepare(head: Head) -> WriteLine:
        """What equal heads share is made here."""
        texts = [each if isinstance(each, str) else each(head) or missing for each in pieces]
        texts.append("\n")

        def line(status: int, size: int, seconds: float, seen: Observation) -> str:
            entry = AccessEntry(head, status, size, seconds, seen)
            for place, write in values.items():
                texts[place] = str(write(entry)) or missing
            return "".join(texts)

        return line

    return prepare
