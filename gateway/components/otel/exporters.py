"""The settings ``exporters`` of ``telemetry/opentelemetry``: where metrics and traces go."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

GRPC_PORT, HTTP_PORT = 4317, 4318
"""Of collectors. (opentelemetry.io/docs/specs/otlp)"""
PROMETHEUS_PORT = 9090
"""Of exporters. KrakenD's default."""
METRICS_PATH, TRACES_PATH = "/v1/metrics", "/v1/traces"
REPORTING_PERIOD = 30
"""Seconds. KrakenD's default."""

_SCHEME = re.compile("^https?://")


class PrometheusExporter(Struct, frozen=True, kw_only=True):
    name: str = ""
    """Of the exporter, for people."""
    port: int = PROMETHEUS_PORT
    """Where ``/metrics`` is. 0 is 9090, as in KrakenD."""
    listen_ip: str = ""
    """The address of the port; empty: every address. KrakenD ignores it."""
    host: str = ""
    """As ``listen_ip``, by the name that KrakenD really reads."""
    process_metrics: bool = False
    """Whether memory, CPU and files of the process are included."""
    go_metrics: bool = False
    """Whether metrics of the runtime are included: here of Python."""
    disable_metrics: bool = False
    """Whether this exporter is off."""

    @property
    def listens_on(self) -> tuple[str, int]:
        """Host and port; the host is empty for every address."""
        return self.listen_ip or self.host, self.port or PROMETHEUS_PORT


class OtlpExporter(Struct, frozen=True, kw_only=True):
    name: str = ""
    """Of the exporter, for people: it is in the log and in ``/__ready``."""
    host: str = ""
    """The collector, by default ``localhost``. With ``https://`` before it the connection is
    encrypted."""
    port: int = 0
    """Of the collector; 0: 4317, or 4318 with ``use_http``."""
    use_http: bool = False
    """Whether HTTP is used instead of gRPC."""
    disable_metrics: bool = False
    """Whether it gets no metrics."""
    disable_traces: bool = False
    """Whether it gets no traces."""
    custom_metric_reporting_period: int = 0
    """Seconds between two reports of metrics; 0: ``metric_reporting_period``."""

    @property
    def is_off(self) -> bool:
        """Whether it gets nothing."""
        return self.disable_metrics and self.disable_traces

    @property
    def is_encrypted(self) -> bool:
        return self.host.startswith("https://")

    @property
    def bare_host(self) -> str:
        """Without ``http://`` or ``https://``."""
        return _SCHEME.sub("", self.host).removesuffix("/") or "localhost"

    @property
    def address(self) -> str:
        """Host and port."""
        host = self.bare_host
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{host}:{self.port or (HTTP_PORT if self.use_http else GRPC_PORT)}"

    @property
    def label(self) -> str:
        """Identifies the exporter: its name, or its address if it has no name."""
        return self.name or self.address

    @property
    def metrics_url(self) -> str:
        """As OpenTelemetry's exporters expect it."""
        return self._url(METRICS_PATH)

    @property
    def traces_url(self) -> str:
        """As OpenTelemetry's exporters expect it."""
        return self._url(TRACES_PATH)

    def _url(self, path: str) -> str:
        scheme = "https" if self.is_encrypted else "http"
        return f"{scheme}://{self.address}{path if self.use_http else ''}"


class Collector(Struct, frozen=True):
    """Where data of one kind are sent. ``timeout``: seconds for each request, with the library's
    own attempts to repeat it. ``headers``: secrets."""

    url: str
    timeout: float
    use_http: bool = True
    headers: Mapping[str, str] = {}


class Exporters(Struct, frozen=True, kw_only=True):
    prometheus: tuple[PrometheusExporter, ...] | None = None
    """Ports on which Prometheus reads the metrics."""
    otlp: tuple[OtlpExporter, ...] | None = None
    """Collectors of OpenTelemetry."""
