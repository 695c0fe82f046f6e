"""``telemetry/opentelemetry-security``: headers with which collectors know the gateway.

KrakenD Enterprise has it. The values are secrets: no message has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from ...config.findings import Finding
from ...config.structs import Service
from ...core.component import Component, Place
from ...core.rule import is_local
from .exporters import OtlpExporter
from .settings import NAMESPACE, OtelSettings

SECURITY = "telemetry/opentelemetry-security"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"([!-~]([ -~]*[!-~])?)?")


class ExporterSecurity(Struct, frozen=True, kw_only=True):
    name: str = ""
    """Of an exporter in `exporters.otlp` of `telemetry/opentelemetry`."""
    headers: dict[str, str] = {}
    """Headers of each request to that collector, such as a token. In values `${NAME}` is an
    environment variable, and `${file:PATH}` the content of a file."""


class OtelSecurity(Struct, frozen=True, kw_only=True):
    otlp: tuple[ExporterSecurity, ...] = ()
    """Collectors that want to know who sends."""


def headers_of(exporter: OtlpExporter, service: Service) -> Mapping[str, str]:
    """The headers for that collector."""
    settings = service.extra_config.get(SECURITY)
    entries = settings.otlp if isinstance(settings, OtelSecurity) else ()
    return {
        name: value
        for each in entries
        if each.name and each.name == exporter.name
        for name, value in each.headers.items()
    }


def is_sendable(value: str) -> bool:
    """Whether both protocols send it as the value of a header. Errors of their libraries about
    other values have the value in them."""
    return bool(_HEADER_VALUE.fullmatch(value))


def verify(settings: OtelSecurity) -> Iterator[tuple[str, str]]:
    """Headers that neither protocol could send."""
    for number, each in enumerate(settings.otlp):
        for name, value in each.headers.items():
            key = f"otlp[{number}].headers"
            if not _HEADER_NAME.fullmatch(name):
                yield key, "expected names of headers"
            elif not is_sendable(value):
                yield f"{key}.{name}", "expected a value of visible characters in ASCII"


def findings(settings: OtelSecurity, place: Place) -> Iterator[Finding]:
    telemetry = place.service.extra_config.get(NAMESPACE)
    exporters = telemetry.otlp if isinstance(telemetry, OtelSettings) else ()
    for number, each in enumerate(settings.otlp):
        named = [own for own in exporters if each.name and own.name == each.name]
        if not named:
            text = f'no effect: exporters.otlp of {NAMESPACE} has no exporter "{each.name}"'
            yield place.warning(text, f"otlp[{number}].name")
        if not each.headers:
            yield place.warning("no headers: it has no effect", f"otlp[{number}]")
        elif any(not own.is_encrypted and not is_local(own.bare_host) for own in named):
            text = "are sent to another machine without encryption: write https:// before the host"
            yield place.warning(f"{text} of the exporter", f"otlp[{number}].headers")


COMPONENT = Component(SECURITY, OtelSecurity, service=True, verify=verify, findings=findings)
