"""Metrics for collectors of OpenTelemetry, with the library's exporters and real servers."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.sdk.resources import Resource

from gateway.app.service import Gateway, load, open_gateway
from gateway.components.otel import otlp_checks, otlp_delivery
from gateway.components.otel.exporters import Collector, OtlpExporter
from gateway.components.otel.otlp_delivery import LOG_PERIOD, CollectorSender, OutageLog
from gateway.components.otel.otlp_library import build_resource, open_metrics_sender
from gateway.components.otel.otlp_metrics import Families, OtlpReports
from gateway.components.otel.settings import OtelSettings
from gateway.core.version import VERSION
from gateway.errors import GatewayError
from gateway.telemetry.metrics import Family, FamilySample, Registry

from ..gateways import Backends, Document, ask, document, refusal
from .collectors import COLLECTORS, attributes, open_http_collector

both = pytest.mark.parametrize("use_http", [True, False], ids=["http", "grpc"])
SENDER_TIMEOUT = 1.5
"""Seconds: enough for one more attempt of the library, which comes after a second."""


def configuration(*exporters: Document, **settings: Any) -> Document:
    own = {"exporters": {"otlp": [*exporters]}, **settings}
    return document(extra_config={}) | {"extra_config": {"telemetry/opentelemetry": own}}


def exporter(port: int = 0, **keys: Any) -> Document:
    return {"name": "own", "host": "127.0.0.1", "port": port, "disable_traces": True, **keys}


@asynccontextmanager
async def reporting(*exporters: Document, **settings: Any) -> AsyncGenerator[Gateway]:
    catalog = Backends({"/a": b'{"a":1}'}).catalog()
    async with open_gateway(configuration(*exporters, **settings), catalog=catalog) as gateway:
        yield gateway


@both
@pytest.mark.anyio
async def test_a_collector_gets_the_metrics_at_the_latest_when_the_gateway_stops(
    use_http: bool,
) -> None:
    with COLLECTORS[use_http]() as collector:
        async with reporting(
            exporter(collector.port, use_http=use_http), service_name="shop", deploy_env="test"
        ) as gateway:
            for _ in range(3):
                await ask(gateway.asgi)
            assert gateway.readiness()["ready"]
    [received] = collector.received
    assert received.path == ("/v1/metrics" if use_http else "")
    resource = received.resource
    assert resource.pop("service.instance.id")
    assert resource.pop("telemetry.sdk.version")
    assert resource == {
        "service.name": "shop",
        "service.version": VERSION,
        "deployment.environment": "test",
        "deployment.environment.name": "test",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
    }
    histogram = received.metrics["http.server.duration"].histogram
    assert histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    [point] = histogram.data_points
    assert attributes(point.attributes)["http.route"] == "/e"
    assert point.count == 3
    assert sum(point.bucket_counts) == 3
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert 0 < point.start_time_unix_nano < point.time_unix_nano
    assert not point.HasField("min")


@both
@pytest.mark.anyio
async def test_a_collector_that_cannot_be_reached_is_one_line_of_the_log(
    use_http: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_delivery, "STOP_TIMEOUT", 20)
    with COLLECTORS[use_http]() as collector:
        pass
    own = exporter(collector.port, use_http=use_http)
    async with reporting(own, metric_reporting_period=2) as gateway:  # it is the timeout, too
        assert gateway.readiness()["ready"]
    resources = gateway.readiness()["resources"]
    [resource] = [each for each in resources if each["kind"] == "otlp"]
    assert resource == {
        "kind": "otlp",
        "ready": True,
        "name": "own",
        "address": f"127.0.0.1:{collector.port}",
        "connected": False,
    }
    [record] = caplog.records
    assert record.name == "gateway.otlp"
    assert record.levelno == logging.WARNING
    assert f"otlp own http://127.0.0.1:{collector.port}" in record.getMessage()
    assert "onnection refused" in record.getMessage()


def families() -> tuple[FamilySample, ...]:
    registry = Registry()
    registry.family(Family("a", "counter", unit="By", help="Bytes.")).value({"x": "1"}).value = 2
    registry.family(Family("b", "gauge", scope="own")).value({}).value = 0.5
    return tuple(registry.samples())


def open_sender(
    port: int, *, use_http: bool = True, scheme: str = "http"
) -> CollectorSender[Families]:
    host = f"{scheme}://127.0.0.1"
    url = OtlpExporter(host=host, port=port, use_http=use_http).metrics_url
    return open_metrics_sender(Collector(url, SENDER_TIMEOUT, use_http), Resource({}))


@both
def test_counters_and_gauges(use_http: bool) -> None:
    with COLLECTORS[use_http]() as collector:
        sender = open_sender(collector.port, use_http=use_http)
        assert sender.send(families()) == ""
        sender.close()
    [received] = collector.received
    [metrics] = received.request.resource_metrics
    assert [each.scope.name for each in metrics.scope_metrics] == ["hutch-gateway", "own"]
    counter, gauge = received.metrics["a"], received.metrics["b"]
    assert (counter.unit, counter.description) == ("By", "Bytes.")
    assert counter.sum.is_monotonic
    assert counter.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    [point] = counter.sum.data_points
    assert (point.as_int, attributes(point.attributes)) == (2, {"x": "1"})
    assert 0 < point.start_time_unix_nano < point.time_unix_nano
    assert [each.as_double for each in gauge.gauge.data_points] == [0.5]


@both
def test_a_collector_that_is_away_and_comes_back(
    use_http: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with COLLECTORS[use_http]() as collector:
        sender = open_sender(collector.port, use_http=use_http)
        assert sender.send(families()) == ""
    assert "onnection refused" in sender.send(families())
    with COLLECTORS[use_http](collector.port) as again:
        assert sender.send(families()) == ""
        sender.close()
    assert len(again.received) == 1
    assert not caplog.records


def test_a_collector_that_refuses(caplog: pytest.LogCaptureFixture) -> None:
    with open_http_collector() as collector:
        collector.status = 401
        sender = open_sender(collector.port)
        assert "401, reason: Unauthorized" in sender.send(families())
        sender.close()
    assert not caplog.records


def test_a_collector_that_redirects_has_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with open_http_collector() as collector:
        collector.status = 302
        sender = open_sender(collector.port)
        assert "the collector redirects (302)" in sender.send(families())
        sender.close()
    assert not caplog.records


@both
def test_headers_and_compression_of_the_environment(
    use_http: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with COLLECTORS[use_http]() as collector:
        sender = open_sender(collector.port, use_http=use_http)
        assert sender.send(families()) == ""
        sender.close()
    [received] = collector.received
    assert received.headers["x-key"] == "secret"
    assert received.headers.get("content-encoding", "gzip") == "gzip"


@both
def test_https_before_the_host_means_tls_for_both_protocols(
    use_http: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(trusted))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they come first for HTTP
        monkeypatch.delenv(name, raising=False)
    with COLLECTORS[use_http](certificate=authority.issue_cert("127.0.0.1")) as collector:
        sender = open_sender(collector.port, use_http=use_http, scheme="https")
        assert sender.send(families()) == ""
        sender.close()
    assert len(collector.received) == 1


@pytest.mark.anyio
async def test_an_environment_that_the_library_does_not_accept_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "snappy")
    with pytest.raises(GatewayError, match=r"otlp own: .*snappy"):
        async with reporting(exporter()):
            pass


def test_workers_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod,zone=a")
    single = build_resource({"service.name": "shop"}, 0, 1).attributes
    assert (single["service.instance.id"], single["zone"]) == ("pod", "a")
    assert build_resource({}, 1, 2).attributes["service.instance.id"] == "pod-1"


class FakeSender:
    """``reasons``: what the next reports return; then they arrive. ``gate``: reports wait for
    it."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = [*reasons]
        self.gate = threading.Event()
        self.gate.set()
        self.sent = 0
        self.running = 0
        self.most = 0
        self.timeout = 20.0
        self.is_closed = False

    def send(self, families: Sequence[FamilySample]) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        self.gate.wait(20)
        self.running -= 1
        self.sent += 1
        return self.reasons.pop(0) if self.reasons else ""

    def abort(self) -> None:
        self.gate.set()

    def close(self) -> None:
        self.is_closed = True


def reports(sender: FakeSender, period: float = 0.001) -> OtlpReports:
    return OtlpReports(OtlpExporter(name="own"), period, lambda: (), lambda: sender)


async def until(is_true: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not is_true():
            await anyio.sleep(0.005)


@pytest.mark.anyio
async def test_there_is_one_report_each_period_and_one_at_the_end() -> None:
    sender = FakeSender()
    async with reports(sender).opened():
        await until(lambda: sender.sent > 3)
    assert sender.most == 1
    assert sender.is_closed
    sender = FakeSender()
    async with reports(sender, 1000).opened():
        pass
    assert sender.sent == 1


@pytest.mark.anyio
async def test_no_report_overlaps_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_delivery, "JOIN_PERIOD", 0.005)
    sender = FakeSender()
    sender.gate.clear()
    async with reports(sender).opened():
        await until(lambda: sender.running == 1)
        await anyio.sleep(0.05)  # many periods
        sender.gate.set()
    assert sender.most == 1


@pytest.mark.anyio
async def test_a_collector_that_does_not_respond_does_not_hold_up_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp_delivery, "STOP_TIMEOUT", 0.05)
    sender = FakeSender()
    sender.gate.clear()
    async with reports(sender).opened():
        await until(lambda: sender.running == 1)
    assert sender.sent == 0
    assert sender.is_closed
    assert all(each.daemon for each in threading.enumerate() if each.name == "otlp")
    sender.gate.set()
    await until(lambda: sender.sent == 1)


@pytest.mark.anyio
async def test_failures_of_reports_are_in_the_log_and_in_the_readiness(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    sender = FakeSender("away", "away")
    own = reports(sender)
    async with own.opened():
        await until(lambda: sender.sent > 2)
    assert own.readiness()["connected"]
    url = "otlp own http://localhost:4317"
    assert [record.getMessage() for record in caplog.records] == [
        f"{url}: metrics are not sent (failed reports: 1): away",
        f"{url}: metrics arrive again (failed reports: 2)",
    ]


@pytest.mark.anyio
async def test_an_error_of_the_library_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeSender):
        def send(self, families: Sequence[FamilySample]) -> str:
            raise ValueError("broken")

    own = reports(Broken(), 1000)
    async with own.opened():
        pass
    assert "ValueError: broken" in caplog.text
    assert own.readiness()["ready"]


@pytest.mark.anyio
async def test_a_report_that_cannot_be_started_ends_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sender = FakeSender()
    own = reports(sender)
    with monkeypatch.context() as patch:
        patch.setattr(otlp_delivery.SendThread, "start", refuse)
        async with own.opened():
            await until(lambda: not own.readiness()["connected"])
            patch.undo()
            await until(lambda: sender.sent > 0)
    assert "can't start new thread" in caplog.text


def test_an_outage_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    outage = OutageLog("own", "metrics", "reports", clock=lambda: now)
    outage.record("")
    for second in range(int(LOG_PERIOD) * 2):
        now = float(second)
        outage.record("away")
    assert not outage.is_up
    outage.record("")
    outage.record("")
    assert outage.is_up
    assert [record.getMessage() for record in caplog.records] == [
        "own: metrics are not sent (failed reports: 1): away",
        "own: metrics are not sent (failed reports: 61): away",
        "own: metrics arrive again (failed reports: 120)",
    ]


@pytest.mark.parametrize(
    ("keys", "url"),
    [
        ({}, "http://localhost:4317"),
        ({"use_http": True}, "http://localhost:4318/v1/metrics"),
        ({"host": "c.test", "port": 1}, "http://c.test:1"),
        ({"host": "http://c.test/"}, "http://c.test:4317"),
        ({"host": "https://c.test"}, "https://c.test:4317"),
        ({"host": "https://c.test", "use_http": True}, "https://c.test:4318/v1/metrics"),
        ({"host": "::1"}, "http://[::1]:4317"),
        ({"host": "[::1]"}, "http://[::1]:4317"),
    ],
)
def test_urls(keys: Document, url: str) -> None:
    assert OtlpExporter(**keys).metrics_url == url


def test_periods() -> None:
    own = OtlpExporter(custom_metric_reporting_period=2)
    assert OtelSettings(metric_reporting_period=3).period_of(own) == 2
    assert OtelSettings(metric_reporting_period=3).period_of(OtlpExporter()) == 3
    assert OtelSettings(metric_reporting_period=0).period_of(OtlpExporter()) == 30
    assert OtelSettings().period_of(OtlpExporter()) == 30


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"port": 70000}, "exporters.otlp[0].port: expected a port from 1 to 65535, found 70000"),
        ({"host": "c.test:4317"}, "exporters.otlp[0].host: expected a name or an address"),
        ({"host": "http://c.test/v1"}, "exporters.otlp[0].host: expected a name or an address"),
        (
            {"custom_metric_reporting_period": -1},
            "exporters.otlp[0].custom_metric_reporting_period: expected 0 or more",
        ),
    ],
)
def test_settings_that_are_not_possible(keys: Document, error: str) -> None:
    assert error in refusal(configuration(exporter() | keys))


def test_a_period_that_is_not_possible() -> None:
    text = refusal(configuration(exporter(), metric_reporting_period=-1))
    assert "metric_reporting_period: expected 0 or more" in text


@both
def test_a_library_that_is_not_installed(use_http: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name, extra = otlp_checks.LIBRARIES[use_http]
    monkeypatch.setitem(sys.modules, name, None)
    own = configuration(exporter(use_http=use_http))
    assert f'otlp[0]: needs a library: pip install "hutch-gateway[{extra}]"' in refusal(own)
    traced = exporter(use_http=use_http, disable_metrics=True, disable_traces=False)
    assert extra in refusal(configuration(traced))
    assert not refusal(configuration(exporter(use_http=use_http, disable_metrics=True)))
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    assert extra in refusal(own)


def test_what_check_says() -> None:
    own = configuration(
        exporter(use_http=True),
        exporter(disable_traces=False),
        exporter(use_http=True, disable_metrics=True),
        exporter(4318, use_http=True),
    )
    found = load(own, environ={}).all_findings
    start = '$.extra_config["telemetry/opentelemetry"].exporters.otlp'
    said = [
        (each.path.removeprefix(start), each.severity, each.text)
        for each in found
        if each.path.startswith(start)
    ]
    what = "metrics nor traces"
    port = "is 4318, the port of collectors for HTTP; KrakenD would use 4317, that for gRPC"
    assert said == [
        ("[0].port", "warning", port),
        ("[2]", "warning", f"gets neither {what}: disable_metrics and disable_traces are set"),
    ]


@pytest.mark.anyio
async def test_metrics_of_the_process_are_for_prometheus_only() -> None:
    prometheus = {"name": "other", "process_metrics": True, "go_metrics": True}
    with open_http_collector() as collector:
        own = configuration(exporter(collector.port, use_http=True))
        own["extra_config"]["telemetry/opentelemetry"]["exporters"]["prometheus"] = [prometheus]
        async with open_gateway(own, catalog=Backends({"/a": b"{}"}).catalog()) as gateway:
            await ask(gateway.asgi)
    [received] = collector.received
    assert "http.server.duration" in received.metrics
    assert not [name for name in received.metrics if name.startswith(("process", "python"))]


@pytest.mark.anyio
async def test_without_metrics_nothing_is_reported() -> None:
    assert not OtelSettings().uses_metrics
    async with reporting(exporter(disable_metrics=True)) as gateway:
        assert not gateway.readiness()["resources"]
