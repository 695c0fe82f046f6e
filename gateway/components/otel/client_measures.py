"""What is counted of the requests to HTTP backends, under KrakenD's names.

Each request of the client counts, also those after a redirect. A response costs a look for the
series of its server, method and status, and a few additions.
"""

from __future__ import annotations

from time import perf_counter

from msgspec import Struct

from ...config.structs import Backend, Endpoint
from ...core.asgi import find_header
from ...http.observed import ObservedRequest, RequestObserver
from ...http.targets import Origin
from ...telemetry.metrics import Family, Histogram, Kind, Registry, Value
from .measures import SCOPE, SEMANTIC_CONVENTION, backend_labels
from .settings import BackendMetrics, Histograms, OtelSettings, backend_route_of

MAX_SERIES = 200
"""Series of one backend by server, method and status. Redirects and scripts may lead to any server,
perhaps as a client wishes; what is above the limit is counted for the server :data:`OTHER`."""

OTHER = Origin("", "_OTHER", 0, "")


def build_client_meter(
    settings: OtelSettings, backend: Backend, endpoint: Endpoint, registry: Registry
) -> RequestObserver | None:
    """None: the requests of the backend are not measured."""
    layer = settings.backend_metrics(backend)
    is_measured = layer.round_trip or layer.read_payload
    if not is_measured or settings.skips(endpoint.endpoint):
        return None
    convention = settings.client_layer.semantic_convention
    families = _build_families(registry, settings.buckets, layer, convention)
    labels = backend_labels(backend, endpoint, layer.static_attributes)
    own_labels = labels | {"clientname": backend_route_of(backend.url_pattern)}
    if not layer.read_payload:
        return _RequestMeter(families, own_labels)
    reading = _ReadFamilies(registry, settings.buckets)
    return _PayloadMeter(families, own_labels, reading, labels)


class _Families(Struct, frozen=True):
    """``counts``: started, failed, canceled, timedout and no-content-length; a name that is absent
    is not counted. ``phases``: get-conn, dns and tls, or none."""

    durations: Family
    request_sizes: Family
    response_sizes: Family
    counts: dict[str, Family]
    phases: tuple[Family, ...]


def _build_families(
    registry: Registry, buckets: Histograms, layer: BackendMetrics, convention: str
) -> _Families:
    def family(name: str, kind: Kind = "counter", unit: str = "", text: str = "") -> Family:
        bounds = buckets.size_buckets if name.endswith("size") else buckets.time_buckets
        return registry.family(
            Family(
                f"http.client.{name}",
                kind,
                unit=unit,
                help=text,
                scope=SCOPE,
                bounds=bounds if kind == "histogram" else (),
            )
        )

    def counts(unit: str = "", text: str = "") -> dict[str, Family]:
        names = "started", "failed", "canceled", "timedout"
        found = {name: family(f"request.{name}.count") for name in names}
        found["no length"] = family("response.no-content-length", "counter", unit, text)
        return found

    details = layer.detailed_connection
    if convention != SEMANTIC_CONVENTION:
        phases = ("get-conn", "dns", "tls") if details else ()
        return _Families(
            family("duration", "histogram"),
            family("request.size"),
            family("response.size", "histogram"),
            counts(),
            tuple(family(f"request.{name}.duration", "histogram") for name in phases),
        )
    texts = {
        "get-conn": "Time spent acquiring a client connection",
        "dns": "Time spent resolving the DNS name",
        "tls": "Time spent on TLS negotiation and connection",
    }
    no_length = "Client received responses that do not have 'Content-Length' value set"
    return _Families(
        family("request.duration", "histogram", "s", "Duration of HTTP client requests."),
        family("request.body.size", "histogram", "By", "Size of HTTP client request bodies."),
        family("response.body.size", "histogram", "By", "Size of HTTP client response bodies."),
        counts("By", no_length) if details else {},
        tuple(
            family(f"request.{name}.duration", "histogram", "s", text)
            for name, text in texts.items()
            if details
        ),
    )


class _RequestMeter:
    """A :class:`gateway.http.observed.RequestObserver`."""

    def __init__(self, families: _Families, labels: dict[str, str]) -> None:
        self._families = families
        self._labels = labels
        self._series: dict[tuple[Origin, str, int], _Series] = {}

    def responded(self, request: ObservedRequest) -> None:
        series = self._of(request)
        series.observe(request, request.has_headers - request.started)
        if not request.is_head:
            length = find_header(request.headers, b"content-length")
            if length:
                series.observe_size(int(length))
            else:
                series.add("no length")

    def failed(self, request: ObservedRequest) -> None:
        series = self._of(request)
        series.observe(request, perf_counter() - request.started)
        if request.is_withdrawn and request.is_client_gone:
            series.add("canceled")
            return
        series.add("failed")
        if request.is_withdrawn:
            series.add("timedout")

    def body_read(
        self, request: ObservedRequest, size: int, seconds: float, *, has_failed: bool
    ) -> None:
        """It is not measured."""

    def _of(self, request: ObservedRequest) -> _Series:
        key = request.origin, request.method, request.status
        series = self._series.get(key)
        return self._add(key) if series is None else series

    def _add(self, key: tuple[Origin, str, int]) -> _Series:
        if len(self._series) >= MAX_SERIES:
            key = OTHER, "_OTHER", key[2]
        if key not in self._series:
            origin, method, status = key
            labels = self._labels | {
                "http.request.method": method,
                "http.response.status_code": str(status),
                "server.address": origin.host,
                "server.port": str(origin.port),
            }
            make = _DetailedSeries if self._families.phases else _Series
            self._series[key] = make(self._families, labels)
        return self._series[key]


class _PayloadMeter(_RequestMeter):
    """Measures reading the bodies, too."""

    def __init__(
        self,
        families: _Families,
        labels: dict[str, str],
        read: _ReadFamilies,
        read_labels: dict[str, str],
    ) -> None:
        super().__init__(families, labels)
        self._read = read
        self._read_labels = read_labels
        self._reads: dict[bool, _ReadSeries] = {}

    def body_read(
        self, request: ObservedRequest, size: int, seconds: float, *, has_failed: bool
    ) -> None:
        series = self._reads.get(has_failed)
        if series is None:
            error = {"error": "true"} if has_failed else {}
            series = self._reads[has_failed] = _ReadSeries(self._read, self._read_labels | error)
        series.observe(size, seconds)


class _Series:
    """Series with the same labels. One without a number does not exist yet, as in KrakenD."""

    def __init__(self, families: _Families, labels: dict[str, str]) -> None:
        self._families = families
        self._labels = labels
        self._durations = families.durations.histogram(labels)
        self._started = self._counter("started")
        self._counts: dict[str, Value] = {}
        self._sizes: Histogram | None = None
        sizes = families.request_sizes
        self._observe_request = (
            sizes.histogram(labels).observe
            if sizes.kind == "histogram"
            else sizes.value(labels).add
        )

    def observe(self, request: ObservedRequest, seconds: float) -> None:
        """``seconds``: until the headers of the response, or the failure."""
        self._started.value += 1
        self._durations.observe(seconds)
        self._observe_request(len(request.body))

    def observe_size(self, size: int) -> None:
        if self._sizes is None:
            self._sizes = self._families.response_sizes.histogram(self._labels)
        self._sizes.observe(size)

    def add(self, name: str) -> None:
        """Add 1 to one of ``counts``."""
        counter = self._counts.get(name)
        if counter is None:
            counter = self._counts[name] = self._counter(name)
        counter.value += 1

    def _counter(self, name: str) -> Value:
        family = self._families.counts.get(name)
        return Value() if family is None else family.value(self._labels)


class _DetailedSeries(_Series):
    """With the phases of the connection."""

    def __init__(self, families: _Families, labels: dict[str, str]) -> None:
        super().__init__(families, labels)
        self._waits, self._dns, self._tls = (each.histogram(labels) for each in families.phases)

    def observe(self, request: ObservedRequest, seconds: float) -> None:
        super().observe(request, seconds)
        self._waits.observe(request.connected - request.started if request.connected else 0.0)
        self._dns.observe(request.dns_time)
        self._tls.observe(request.tls_time)


class _ReadFamilies:
    """Of reading bodies: their sizes and seconds."""

    def __init__(self, registry: Registry, buckets: Histograms) -> None:
        def counter(name: str, unit: str) -> Family:
            name = f"http.client.response.read.{name}"
            return registry.family(Family(name, "counter", unit=unit, scope=SCOPE))

        def histogram(name: str, unit: str, bounds: tuple[float, ...]) -> Family:
            name = f"http.client.response.read.{name}"
            return registry.family(Family(name, "histogram", unit=unit, scope=SCOPE, bounds=bounds))

        self.size = counter("size", "b")
        self.sizes = histogram("size-hist", "b", buckets.size_buckets)
        self.time = counter("time", "s")
        self.times = histogram("time-hist", "s", buckets.time_buckets)


class _ReadSeries:
    def __init__(self, families: _ReadFamilies, labels: dict[str, str]) -> None:
        self._size, self._sizes = families.size.value(labels), families.sizes.histogram(labels)
        self._time, self._times = families.time.value(labels), families.times.histogram(labels)

    def observe(self, size: int, seconds: float) -> None:
        self._size.value += size
        self._sizes.observe(size)
        self._time.value += seconds
        self._times.observe(seconds)
