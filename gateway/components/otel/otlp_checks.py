"""What is wrong with the settings ``exporters.otlp``, and what ``check`` says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import IPv6Address

from ...core.component import MAX_PORT
from .settings import OtelSettings

LIBRARIES = {
    True: ("opentelemetry.exporter.otlp.proto.http", "otel"),
    False: ("opentelemetry.exporter.otlp.proto.grpc", "otel-grpc"),
}
"""``use_http`` -> the library that it needs, and the extra that installs it."""

_HOST = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+\]")


def verify_otlp(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    """Hosts, ports and periods that are not possible, and libraries that are not installed."""
    for number, each in enumerate(settings.otlp):
        key = f"exporters.otlp[{number}]"
        if not 0 <= each.port <= MAX_PORT:
            yield f"{key}.port", f"expected a port from 1 to {MAX_PORT}, found {each.port}"
        if not _is_host(each.bare_host):
            yield f"{key}.host", "expected a name or an address without port and path"
        if each.custom_metric_reporting_period < 0:
            yield f"{key}.custom_metric_reporting_period", "expected 0 or more"
        library, extra = LIBRARIES[each.use_http]
        if not each.is_off and not _is_installed(library):
            yield key, f'needs a library: pip install "hutch-gateway[{extra}]"'
    if settings.metric_reporting_period < 0:
        yield "metric_reporting_period", "expected 0 or more"


def _is_host(host: str) -> bool:
    if _HOST.fullmatch(host):
        return True
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_installed(library: str) -> bool:
    """Without importing it."""
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def otlp_traps(settings: OtelSettings) -> Iterator[tuple[str, str]]:
    """What works in another way than in KrakenD, or not at all: key and text."""
    for number, each in enumerate(settings.otlp):
        key = f"exporters.otlp[{number}]"
        if each.is_off:
            yield key, "gets neither metrics nor traces: disable_metrics and disable_traces are set"
        elif each.use_http and not each.port:
            text = f"is {each.address.rpartition(':')[2]}, the port of collectors for HTTP; "
            yield f"{key}.port", f"{text}KrakenD would use 4317, that for gRPC"
