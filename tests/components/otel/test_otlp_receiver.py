"""Traces and metrics for a collector that is a process of its own, and is at times away."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from opentelemetry.sdk.resources import Resource

from gateway.app.service import Gateway, open_gateway
from gateway.components.otel import otlp, otlp_delivery, otlp_spans
from gateway.components.otel.exporters import Collector
from gateway.components.otel.otlp_library import open_metrics_sender, open_spans_sender
from gateway.telemetry.metrics import Family, FamilySample, Registry
from gateway.telemetry.spans import Span, SpanContext, SpanEvent, SpanKind

from ...otlp_receiver import MODES, Receiver, receiving
from ..gateways import Backends, Document, document

both = pytest.mark.parametrize("use_http", [True, False], ids=["http", "grpc"])
NAMESPACE = "telemetry/opentelemetry"
SECURITY = "telemetry/opentelemetry-security"
TRACE, PARENT, OTHER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
TIMEOUT = 1.5


def span(name: str = "GET /a", **keys: Any) -> Span:
    context = SpanContext(TRACE, "00f067aa0ba90001", True)
    return Span(name, SpanKind.INTERNAL, context, 1_700_000_000_000_000_001, **keys)


def families() -> tuple[FamilySample, ...]:
    registry = Registry()
    registry.family(Family("a", "counter")).value({"x": "1"}).value = 2
    return tuple(registry.samples())


def url(receiver: Receiver, path: str, use_http: bool, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{receiver.port}{path if use_http else ''}"


def collector_of(
    receiver: Receiver, use_http: bool, headers: dict[str, str] | None = None, scheme: str = "http"
) -> Collector:
    return Collector(
        url(receiver, "/v1/traces", use_http, scheme), TIMEOUT, use_http, headers or {}
    )


@both
def test_everything_in_a_span_arrives(use_http: bool) -> None:
    attributes = {"text": "a", "yes": True, "number": 7, "part": 0.5, "list": ["a", "b"]}
    full = span(
        "publish orders",
        parent_id=PARENT,
        end=1_700_000_000_000_000_009,
        attributes=attributes,
        links=[SpanContext("1" * 32, "2" * 16, True, "z=9")],
        events=[SpanEvent("retried", 1_700_000_000_000_000_005, {"try": 2})],
        error="unroutable",
    )
    full.context = SpanContext(TRACE, OTHER, True, "x=1,y=2")
    resource = Resource({"service.name": "shop"})
    with receiving(use_http=use_http) as receiver:
        sender = open_spans_sender(collector_of(receiver, use_http), resource)
        assert sender.send([full]) == ""
        sender.close()
        receiver.wait_for(receiver.spans)
    [request] = receiver.requests
    assert request["path"] == ("/v1/traces" if use_http else "")
    [received] = receiver.spans()
    assert received == {
        "name": "publish orders",
        "kind": "INTERNAL",
        "trace_id": TRACE,
        "span_id": OTHER,
        "parent_id": PARENT,
        "state": "x=1,y=2",
        "start": 1_700_000_000_000_000_001,
        "end": 1_700_000_000_000_000_009,
        "attributes": attributes,
        "links": [["1" * 32, "2" * 16]],
        "events": [["retried", 1_700_000_000_000_000_005, {"try": 2}]],
        "error": "unroutable",
        "has_remote_parent": False,
        "resource": {"service.name": "shop"},
        "scope": "hutch-gateway",
    }


@pytest.mark.parametrize("kind", SpanKind)
def test_kinds_and_what_is_not_set(kind: SpanKind) -> None:
    with receiving() as receiver:
        sender = open_spans_sender(collector_of(receiver, True), Resource({}))
        first, second = span(end=2), span(end=2, parent_id=PARENT)
        first.kind = second.kind = kind
        assert sender.send([first, second]) == ""
        sender.close()
        receiver.wait_for(lambda: len(receiver.spans()) == 2)
    root, child = receiver.spans()
    assert root["kind"] == kind.name
    assert (root["parent_id"], root["state"], root["error"]) == ("", "", None)
    assert (root["links"], root["events"], root["attributes"]) == ([], [], {})
    assert not root["has_remote_parent"]
    assert child["has_remote_parent"] is (kind in (SpanKind.SERVER, SpanKind.CONSUMER))


@both
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"])
def test_headers_compression_and_certificates_of_the_environment(
    use_http: bool, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    trusted, own = tmp_path / "ca.pem", tmp_path / "own.pem"
    authority.cert_pem.write_to_path(str(trusted))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(own))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they come first for HTTP
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{variable}HEADERS", "x-key=env,x-both=env")
    monkeypatch.setenv(f"{variable}COMPRESSION", "gzip")
    monkeypatch.setenv(f"{variable}CERTIFICATE", str(trusted))
    with receiving(use_http=use_http, certificate=own) as receiver:
        collector = collector_of(receiver, use_http, {"X-Both": "own"}, "https")
        sender = open_spans_sender(collector, Resource({}))
        assert sender.send([span(end=2)]) == ""
        sender.close()
        receiver.wait_for(receiver.spans)
    headers = receiver.requests[0]["headers"]
    assert (headers["x-key"], headers["x-both"]) == ("env", "own")
    assert headers.get("content-encoding", "gzip") == "gzip"


def test_wrong_headers_of_the_environment_are_not_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api key secret")
    open_spans_sender(Collector("http://127.0.0.1:1/v1/traces", 1), Resource({})).close()
    assert "expected name=value" in caplog.text
    assert "secret" not in caplog.text


@both
def test_a_secret_that_cannot_be_sent_stops_the_start_and_is_not_printed(
    use_http: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=sec%0Aret")
    with pytest.raises(ValueError, match="OTLP_HEADERS: the value of api-key has") as raised:
        open_spans_sender(Collector("http://127.0.0.1:1", 1, use_http), Resource({}))
    assert "sec" not in str(raised.value)


@both
@pytest.mark.parametrize("mode", ["refuse", "slow", "hang"])
@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_what_becomes_of_a_send(use_http: bool, mode: str, signal: str) -> None:
    assert mode in MODES
    with receiving(use_http=use_http, mode=mode) as receiver:
        target = Collector(url(receiver, f"/v1/{signal}", use_http), TIMEOUT, use_http)
        started = time.monotonic()
        if signal == "traces":
            spans_sender = open_spans_sender(target, Resource({}))
            reason = spans_sender.send([span(end=2)])
            spans_sender.close()
        else:
            metrics_sender = open_metrics_sender(target, Resource({}))
            reason = metrics_sender.send(families())
            metrics_sender.close()
        assert bool(reason) is (mode != "slow")
        assert time.monotonic() - started < TIMEOUT * 4
        receiver.wait_for(receiver.requests.copy)


def configuration(*exporters: Document, **extra: Any) -> Document:
    own = {"exporters": {"otlp": [*exporters]}, "metric_reporting_period": 1}
    return document() | {"extra_config": {NAMESPACE: own, **extra}}


def exporter(port: int, use_http: bool, name: str = "own", **keys: Any) -> Document:
    return {"name": name, "host": "127.0.0.1", "port": port, "use_http": use_http, **keys}


@asynccontextmanager
async def tracing(config: Document, **keys: Any) -> AsyncGenerator[Gateway]:
    catalog = Backends({"/a": b'{"a":1}'}).catalog()
    async with open_gateway(config, catalog=catalog, **keys) as gateway:
        yield gateway


def end_spans(gateway: Gateway, *names: str) -> None:
    """As a request does: exporters get the spans."""
    tracer = gateway._assembly.tracer
    assert tracer is not None
    for name in names:
        trace = tracer.start()
        assert trace is not None
        trace.child(name, SpanKind.SERVER, {}).end()


async def until(condition: Any) -> None:
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.01)


def count(gateway: Gateway, outcome: str) -> float:
    """Spans of the first exporter that are ``exported`` or ``dropped``."""
    found = gateway._assembly.resources["otlp traces", 0].readings()  # type: ignore[attr-defined]
    return next(float(each.value) for each in found if each.name == f"spans.{outcome}")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that takes seconds takes less."""
    monkeypatch.setenv(otlp_spans.DELAY, "20")
    monkeypatch.setattr(otlp, "TRACES_TIMEOUT", 0.5)
    monkeypatch.setattr(otlp, "MIN_TIMEOUT", 0.5)
    monkeypatch.setattr(otlp, "MAX_TIMEOUT", 0.5)
    monkeypatch.setattr(otlp_delivery, "ABORT_DELAY", 0.3)


@both
@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_collector_that_is_killed_and_comes_back(
    use_http: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with receiving(use_http=use_http) as receiver:
        own = exporter(receiver.port, use_http, disable_metrics=True)
        async with tracing(configuration(own)) as gateway:
            end_spans(gateway, "before")
            await until(lambda: count(gateway, "exported") == 1)
            receiver.kill()
            end_spans(gateway, "away")
            await until(lambda: count(gateway, "dropped") == 1)
            assert gateway.readiness()["ready"]
            with receiving(use_http=use_http, port=receiver.port) as again:
                await anyio.sleep(0.1)  # gRPC waits before it connects again
                with anyio.fail_after(30):
                    while not again.spans():
                        end_spans(gateway, "after")
                        await anyio.sleep(0.2)
        assert {each["name"] for each in again.spans()} == {"after"}
    texts = [each for each in caplog.messages if each.startswith("otlp own")]
    assert "traces are not sent (failed batches: 1, lost spans: 1)" in texts[0]
    assert "traces arrive again" in texts[-1]


@both
@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_a_collector_that_sends_one_byte_after_the_other_ends_nothing(
    use_http: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(use_http=use_http, mode="trickle") as receiver:
        async with tracing(configuration(exporter(receiver.port, use_http))) as gateway:
            for number in range(1, 3):
                end_spans(gateway, "a")
                await until(lambda number=number: count(gateway, "dropped") == number)
            resources = gateway.readiness()["resources"]
            states = {each["kind"]: each.get("connected") for each in resources}
            await until(lambda: "metrics are not sent" in caplog.text)
        assert states["otlp traces"] is False
        await until(lambda: not [each for each in threading.enumerate() if each.name == "otlp"])
    assert "traces are not sent" in caplog.text
    if use_http:
        assert "no complete response within 0.5 s" in caplog.text


@both
@pytest.mark.parametrize("fault", ["hangs", "is_killed"])
@pytest.mark.anyio
async def test_the_stop_does_not_wait_for_a_collector_that_is_away(
    use_http: bool, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otlp_delivery, "STOP_TIMEOUT", 0.2)
    with receiving(use_http=use_http) as receiver:
        if fault == "hangs":
            receiver.pause()
        else:
            receiver.kill()
        async with tracing(configuration(exporter(receiver.port, use_http))) as gateway:
            end_spans(gateway, "a", "b")
            stopped_at = anyio.current_time()
        assert anyio.current_time() - stopped_at < 5  # a send would take 10
    assert "2 spans are lost: the gateway has stopped before they were sent" in caplog.text


@both
@pytest.mark.anyio
async def test_what_waits_is_sent_when_the_gateway_stops(use_http: bool) -> None:
    with receiving(use_http=use_http) as receiver:
        own = exporter(receiver.port, use_http)
        async with tracing(configuration(own), worker=1, workers=2) as gateway:
            end_spans(gateway, *"abc")
        receiver.wait_for(lambda: len(receiver.spans()) == 3 and receiver.metrics())
    assert [each["name"] for each in receiver.spans()] == ["a", "b", "c"]
    [traces], [metrics] = receiver.of("traces"), receiver.of("metrics")
    assert traces["resource"] == metrics["resource"]
    assert traces["resource"]["service.instance.id"].endswith("-1")
    exported = receiver.metrics()["hutch_gateway.spans.exported"]
    assert [each["attributes"] for each in exported] == [{"exporter": "own"}]


@pytest.mark.anyio
@pytest.mark.usefixtures("quick")
async def test_two_exporters_know_nothing_of_each_other() -> None:
    with receiving() as good, receiving(use_http=False, mode="refuse") as bad:
        config = configuration(
            exporter(bad.port, False, "bad", disable_metrics=True),
            exporter(good.port, True, "good"),
            exporter(bad.port, False, "off", disable_metrics=True, disable_traces=True),
        )
        async with tracing(config) as gateway:
            for name in "abc":
                end_spans(gateway, name)
                await until(lambda name=name: name in [each["name"] for each in good.spans()])
            await until(lambda: count(gateway, "dropped") == 3)


@both
@pytest.mark.anyio
async def test_headers_of_the_security_settings_are_for_their_exporter_only(
    use_http: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOKEN", "secret-1")
    (tmp_path / "token").write_text("secret 2\n")
    headers = {"API-Key": "${TOKEN}", "Authorization": f"Bearer ${{file:{tmp_path}/token}}"}
    with receiving(use_http=use_http) as one, receiving(use_http=use_http) as two:
        config = configuration(
            exporter(one.port, use_http, "one"),
            exporter(two.port, use_http, "two"),
            **{SECURITY: {"otlp": [{"name": "one", "headers": headers}]}},
        )
        async with tracing(config) as gateway:
            end_spans(gateway, "a")
        one.wait_for(lambda: len(one.requests) > 1 and len(two.requests) > 1)
    for request in one.requests:
        assert request["headers"]["api-key"] == "secret-1"
        assert request["headers"]["authorization"] == "Bearer secret 2"
    assert not [each for each in two.requests if "api-key" in each["headers"]]
