"""The exporters of OpenTelemetry, which encode data and send them.

Headers, certificates and compression are also those of OpenTelemetry's environment variables.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from importlib import import_module
from time import time_ns
from typing import Any, Generic, NamedTuple, TypeAlias

from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_HEADERS,
    OTEL_EXPORTER_OTLP_METRICS_HEADERS,
    OTEL_EXPORTER_OTLP_TRACES_HEADERS,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.re import parse_env_headers

from ...telemetry.logs import get_logger
from .exporters import Collector
from .otlp_data import SpanBatch, metrics_data
from .otlp_delivery import D
from .otlp_metrics import Families
from .otlp_spans import Spans
from .security import is_sendable

_RETRY = re.compile(r",? retrying in [\d.]+s\.?")

_logged: ContextVar[list[str]] = ContextVar("logged")
"""What the library has logged while this thread sends."""


def build_resource(target: Mapping[str, str], worker: int, workers: int) -> Resource:
    """What metrics and spans are of. ``target``: names and values. The environment can add more
    (OTEL_RESOURCE_ATTRIBUTES), also ``service.instance.id``, which is random otherwise."""
    attributes = dict(target)
    if environment := target.get("deployment.environment"):
        attributes["deployment.environment.name"] = environment  # the name since 1.27
    resource = Resource.create(attributes)
    if workers > 1:
        name = "service.instance.id"
        instance = str(resource.attributes[name])
        resource = resource.merge(Resource({name: f"{instance}-{worker}"}))
    return resource


class Signal(NamedTuple):
    """A kind of data: the exporter for it, in both protocols, and its variable for headers."""

    module: str
    exporter: str
    headers: str


METRICS = Signal("metric_exporter", "OTLPMetricExporter", OTEL_EXPORTER_OTLP_METRICS_HEADERS)
TRACES = Signal("trace_exporter", "OTLPSpanExporter", OTEL_EXPORTER_OTLP_TRACES_HEADERS)


def open_metrics_sender(collector: Collector, resource: Resource) -> LibrarySender[Families]:
    start = time_ns()
    return LibrarySender(
        collector, METRICS, lambda families: metrics_data(families, resource, start, time_ns())
    )


def open_spans_sender(collector: Collector, resource: Resource) -> LibrarySender[Spans]:
    return LibrarySender(collector, TRACES, lambda spans: SpanBatch(spans, resource))


class LibrarySender(Generic[D]):
    """Sends with an exporter of OpenTelemetry. ``convert``: makes what the exporter reads."""

    def __init__(
        self, collector: Collector, signal: Signal, convert: Callable[[D], object]
    ) -> None:
        for name, keep in FILTERS.items():
            filters = get_logger(name).filters
            if keep not in filters:
                filters.insert(0, keep)  # before a filter of the library, which drops lines
        self.timeout = collector.timeout
        self._convert = convert
        build = _build_http if collector.use_http else _build_grpc
        self._exporter, self._abort = build(collector, signal)

    def send(self, data: D) -> str:
        """Blocks. Returns why the collector has not got them; "" if it has."""
        reasons: list[str] = []
        _logged.set(reasons)
        if self._exporter.export(self._convert(data)).name == "SUCCESS":
            return ""
        return reasons[0] if reasons else "no reason is known"

    def abort(self) -> None:
        self._abort()

    def close(self) -> None:
        """Also ends a send that waits for its next attempt."""
        self._exporter.shutdown()


Built: TypeAlias = tuple[Any, Callable[[], object]]
"""An exporter, and what ends its exchanges."""


def _build_http(collector: Collector, signal: Signal) -> Built:
    from .otlp_http import build_session

    module = import_module(f"opentelemetry.exporter.otlp.proto.http.{signal.module}")
    session, abort = build_session()
    exporter = getattr(module, signal.exporter)(
        collector.url,
        headers=_headers(collector, signal),
        timeout=collector.timeout,
        session=session,
    )
    return exporter, abort


def _build_grpc(collector: Collector, signal: Signal) -> Built:
    """gRPC itself ends a call after the timeout."""
    module = import_module(f"opentelemetry.exporter.otlp.proto.grpc.{signal.module}")
    exporter = getattr(module, signal.exporter)(
        collector.url,
        insecure=collector.url.startswith("http://"),
        headers=_headers(collector, signal),
        timeout=collector.timeout,
    )
    return exporter, lambda: None


def _headers(collector: Collector, signal: Signal) -> dict[str, str]:
    """Those of the environment, and the collector's own. For gRPC the exporters would use either
    the ones or the others."""
    found = next(filter(os.environ.get, (signal.headers, OTEL_EXPORTER_OTLP_HEADERS)), "")
    headers = parse_env_headers(os.environ.get(found, ""), liberal=True)
    for name, value in headers.items():
        if not is_sendable(value):
            raise ValueError(f"{found}: the value of {name} has characters that cannot be sent")
    return {**headers, **{name.lower(): value for name, value in collector.headers.items()}}


def _keep(record: logging.LogRecord) -> bool:
    """A filter: what is logged while something is sent is its reason, and does not pass."""
    logged = _logged.get(None)
    if logged is None:
        return True
    error = next((each for each in record.args or () if isinstance(each, BaseException)), None)
    text = record.getMessage() if error is None else _root_of(error)
    logged.append(_RETRY.sub("", text))
    return False


def _without_values(record: logging.LogRecord) -> bool:
    """A filter: wrong headers of the environment are logged without them."""
    record.msg, record.args = "OTEL_EXPORTER_OTLP_HEADERS: expected name=value, name=value", ()
    return True


FILTERS: Mapping[str, Callable[[logging.LogRecord], bool]] = {
    "opentelemetry.exporter.otlp.proto.http.metric_exporter": _keep,
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": _keep,
    "opentelemetry.exporter.otlp.proto.grpc.exporter": _keep,
    "opentelemetry.util.re": _without_values,
}
"""By logger. The exporters say only there why something was not sent."""


def _root_of(error: BaseException) -> str:
    """The first of the errors that led to this one: the others repeat it, and are long."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__
