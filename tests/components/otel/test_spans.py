"""Spans of requests, endpoints, backends, and requests to HTTP backends."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from anyio import sleep

from gateway import open_gateway
from gateway.app.catalog import CATALOG
from gateway.app.check import with_check_findings
from gateway.config.load import survey
from gateway.telemetry.spans import Span, SpanKind

from ...http.service import answering, message, serving
from .client_backends import Held, endpoint
from .traces import (
    NAMESPACE,
    PARENT,
    SPAN_ID,
    TRACE_ID,
    UNSAMPLED,
    get,
    sent_headers,
    traced,
    tracing,
)

pytestmark = pytest.mark.anyio

BODY = b'{"a":1}'
READ = ("INTERNAL http.client.response.read.tracker",)
BACKEND = ("INTERNAL /b", ("CLIENT /b", READ))
ENDPOINT = ("SERVER GET /e", ("INTERNAL /e", BACKEND))


def by_stage(spans: list[Span]) -> dict[str, Span]:
    return {
        str(each.attributes["krakend.stage"]): each for each in spans if "read" not in each.name
    }


async def test_a_request_has_the_spans_of_krakend() -> None:
    with serving(answering(message(BODY))) as service:
        async with tracing(traced(endpoint(service.url))) as (gateway, spans):
            await get(gateway, "/e")
            assert spans.tree() == ENDPOINT
            await get(gateway, "/e", ("traceparent", PARENT))
            found = spans.take()
    assert {each.context.trace_id for each in found} == {TRACE_ID}
    assert by_stage(found)["global"].parent_id == SPAN_ID
    assert all(0 < each.start <= each.end for each in found)
    assert all(each.error is None for each in found)


async def test_the_attributes_of_a_request() -> None:
    backend = {"url_pattern": "/b/{id}?key=secret"}
    with serving(answering(message(BODY, "200 OK", "X-A: b"))) as service:
        config = traced({**endpoint(service.url, backend), "endpoint": "/e/{id}"})
        async with tracing(config) as (gateway, spans):
            agent = ("user-agent", "probe"), ("authorization", "secret")
            await get(gateway, "/e/7?token=secret", *agent, client=("192.0.2.1", 5), scheme="https")
            found = by_stage(spans.take())
    assert found["global"].name == "GET /e/:id"
    assert found["global"].attributes == {
        "http.request.method": "GET",
        "url.path": "/e/7",
        "url.scheme": "https",
        "http.route": "/e/:id",
        "server.address": "gateway.test",
        "server.port": 8080,
        "client.address": "192.0.2.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "probe",
        "krakend.stage": "global",
        "http.response.status_code": 200,
        "http.response.body.size": len(BODY),
    }
    assert found["proxy"].name == "/e/:id"
    assert found["proxy"].attributes == {
        "http.request.method": "GET",
        "http.route": "/e/:id",
        "krakend.stage": "proxy",
        "complete": True,
        "http.response.status_code": 200,
    }
    of_backend = {
        "http.request.method": "GET",
        "http.route": "/b/:id",
        "krakend.endpoint.method": "GET",
        "krakend.endpoint.route": "/e/:id",
    }
    assert found["backend"].name == found["backend-request"].name == "/b/:id"
    assert found["backend"].attributes == {
        **of_backend,
        "krakend.stage": "backend",
        "complete": True,
        "http.response.status_code": 200,
    }
    times = ("response-duration", "get-conn-duration", "dns-duration", "tls-duration")
    attributes = found["backend-request"].attributes
    assert all(isinstance(attributes.pop(each), float) for each in times)
    assert attributes == {
        **of_backend,
        "krakend.stage": "backend-request",
        "url.full": f"{service.url}/b/7?key=***",
        "server.address": "127.0.0.1",
        "server.port": service.port,
        "http.request.body.size": 0,
        "user_agent.original": attributes["user_agent.original"],
        "http.response.status_code": 200,
        "http.response.body.size": len(BODY),
        "network.protocol.version": "1.1",
    }
    assert [each.name for each in found["backend-request"].events] == ["first-byte-time"]


async def test_a_backend_gets_the_context_of_the_span_of_its_request() -> None:
    listed: dict[str, Any] = {"input_headers": ["*"]}
    with serving(answering(message(BODY))) as service:
        async with tracing(traced(endpoint(service.url, **listed))) as (gateway, spans):
            sent = ("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "k=v")
            await get(gateway, "/e", *sent)
            span = by_stage(spans.take())["backend-request"]
    headers = sent_headers(service.requests[0])
    assert headers["traceparent"] == [f"00-{TRACE_ID}-{span.context.span_id}-01"]
    assert (headers["tracestate"], headers["baggage"]) == (["a=1"], ["k=v"])


@pytest.mark.parametrize("sent", [(), (("traceparent", UNSAMPLED), ("baggage", "k=v"))])
async def test_an_unsampled_context_is_passed_on_without_spans(sent: Any) -> None:
    with serving(answering(message(BODY))) as service:
        config = traced(endpoint(service.url), trace_sample_rate=0)
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/e", *sent)
            assert spans.take() == []
    headers = sent_headers(service.requests[0])
    [value] = headers["traceparent"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", value)
    assert (TRACE_ID in value, f"-{SPAN_ID}-" in value) == (bool(sent), False)
    assert headers.get("baggage") == (["k=v"] if sent else None)


@pytest.mark.parametrize(
    "extra",
    [
        {"gateway": {"propagate": True}},
        {NAMESPACE: {"exporters": {"prometheus": [{"name": "p", "listen_ip": "127.0.0.1"}]}}},
    ],
)
async def test_without_an_exporter_of_traces_a_context_is_passed_on_unchanged(extra: Any) -> None:
    with serving(answering(message(BODY))) as service:
        config = {**traced(endpoint(service.url)), "extra_config": extra}
        async with open_gateway(config) as gateway:
            await get(gateway, "/e", ("traceparent", PARENT), ("tracestate", "a=1"))
            await get(gateway, "/e")
            await get(gateway, "/e", ("traceparent", "invalid"))
    first, second, third = map(sent_headers, service.requests)
    assert (first["traceparent"], first["tracestate"]) == ([PARENT], ["a=1"])
    assert "traceparent" not in second.keys() | third.keys()


@pytest.mark.parametrize(("listed", "seen"), [([], None), (["*"], ["anything"])])
async def test_without_settings_headers_follow_the_lists(listed: Any, seen: Any) -> None:
    with serving(answering(message(BODY))) as service:
        config = {**traced(endpoint(service.url, input_headers=listed)), "extra_config": {}}
        async with open_gateway(config) as gateway:
            await get(gateway, "/e", ("traceparent", "anything"))
    assert sent_headers(service.requests[0]).get("traceparent") == seen


async def test_each_backend_of_a_merge_has_its_own_spans_and_context() -> None:
    with serving(answering(message(BODY))) as service:
        backends = [{"url_pattern": f"/{name}", "host": [service.url]} for name in "xy"]
        config = traced({"endpoint": "/e", "backend": backends})
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/e")
            found = spans.take()
    clients = {each.name: each.context.span_id for each in found if each.kind is SpanKind.CLIENT}
    parents = {each.name: each for each in found if each.attributes["krakend.stage"] == "backend"}
    [proxy] = [each for each in found if each.name == "/e"]
    assert {each.parent_id for each in parents.values()} == {proxy.context.span_id}
    for request in service.requests:
        path = request.split(b" ")[1].decode()
        assert clients[path] in sent_headers(request)["traceparent"][0]


async def test_a_sequence_has_the_spans_of_its_backends() -> None:
    with serving(answering(message(BODY))) as service:
        backends = [
            {"url_pattern": "/x", "host": [service.url]},
            {"url_pattern": "/y/{resp0_a}", "host": [service.url]},
        ]
        sequential = {"extra_config": {"proxy": {"sequential": True}}}
        config = traced({"endpoint": "/e", "backend": backends, **sequential})
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/e")
            [name, proxy] = spans.tree()
    assert name == "SERVER GET /e"
    assert proxy == (
        "INTERNAL /e",
        ("INTERNAL /x", ("CLIENT /x", READ)),
        ("INTERNAL /y/:resp0_a", ("CLIENT /y/:resp0_a", READ)),
    )


async def test_concurrent_calls_and_shadows_are_inside_of_the_endpoint() -> None:
    with serving(answering(message(BODY))) as service:
        shadow = {"extra_config": {"proxy": {"shadow": True}}, "url_pattern": "/s"}
        config = endpoint(service.url, concurrent_calls=2)
        config["backend"].append({"host": [service.url], **shadow})
        async with tracing(traced(config)) as (gateway, spans):
            await get(gateway, "/e")
            found = spans.take()
            while "/s" not in {each.name for each in found}:
                await sleep(0.001)
                found += spans.take()
    [proxy] = [each for each in found if each.name == "/e"]
    inside = [each.name for each in found if each.parent_id == proxy.context.span_id]
    assert set(inside) == {"/b", "/s"}
    assert {each.context.trace_id for each in found if each.name in inside} == {
        proxy.context.trace_id
    }


async def test_each_request_after_a_redirect_has_a_span_and_a_context() -> None:
    def script(service: Any, connection: Any, request: bytes) -> None:
        moved = message(b"", "302 Found", "Location: /other")
        connection.sendall(moved if request.startswith(b"GET /b ") else message(BODY))

    with serving(script) as service:
        async with tracing(traced(endpoint(service.url))) as (gateway, spans):
            await get(gateway, "/e")
            found = spans.take()
    clients = [each for each in found if each.kind is SpanKind.CLIENT]
    assert [each.attributes["http.response.status_code"] for each in clients] == [302, 200]
    paths = [str(each.attributes["url.full"]).removeprefix(service.url) for each in clients]
    assert paths == ["/b", "/other"]
    contexts = [sent_headers(each)["traceparent"][0] for each in service.requests]
    for span, context in zip(clients, contexts, strict=True):
        assert span.context.span_id in context


async def test_a_failed_backend_is_an_error_in_each_span() -> None:
    with serving(answering(message(b"", "503 Service Unavailable"))) as service:
        async with tracing(traced(endpoint(service.url))) as (gateway, spans):
            await get(gateway, "/e")
            found = by_stage(spans.take())
    assert {stage: each.error is not None for stage, each in found.items()} == {
        "global": True,
        "proxy": True,
        "backend": True,
        "backend-request": True,
    }
    assert found["global"].attributes["error.type"] == "500"
    assert found["backend-request"].attributes["error.type"] == "503"
    assert found["backend"].attributes["complete"] is False
    assert found["backend"].attributes["error"] == found["backend"].error != ""


async def test_a_backend_that_is_away_is_an_error() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # it does not listen
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with tracing(traced(endpoint(url))) as (gateway, spans):
            await get(gateway, "/e")
            found = by_stage(spans.take())
    assert found["backend-request"].error
    assert found["backend-request"].attributes["error.type"] == "backend_failure"
    assert "http.response.status_code" not in found["backend-request"].attributes


async def test_a_timeout_is_an_error() -> None:
    held = Held()
    with serving(held) as service:
        config = traced(endpoint(service.url, timeout="50ms"))
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/e")
            found = by_stage(spans.take())
        held.go_on.set()
    types = {stage: each.attributes.get("error.type") for stage, each in found.items()}
    assert types == {
        "global": "500",
        "proxy": "timeout",
        "backend": "timeout",
        "backend-request": "timeout",
    }
    assert all(each.error is not None for each in found.values())


async def test_4xx_is_no_error_of_a_request() -> None:
    with serving(answering(message(BODY))) as service:
        async with tracing(traced(endpoint(service.url))) as (gateway, spans):
            await get(gateway, "/missing", ("traceparent", PARENT))
            [span] = spans.take()
    assert (span.name, span.error, span.parent_id) == ("GET", None, SPAN_ID)
    assert span.attributes["http.response.status_code"] == 404
    assert "http.route" not in span.attributes


async def test_unknown_methods_make_no_names() -> None:
    async with tracing(traced()) as (gateway, spans):
        await get(gateway, "/missing", method="BREW")
        [span] = spans.take()
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"


@pytest.mark.parametrize("skipped", [["/e"], ["/"], ["/e/"]])
async def test_skipped_paths_have_no_spans_and_pass_contexts_on(skipped: list[str]) -> None:
    with serving(answering(message(BODY))) as service:
        config = traced(endpoint(service.url), skip_paths=skipped)
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/e", ("traceparent", PARENT))
            names = {each.name for each in spans.take()}
    assert bool(names) == (skipped != ["/e"])
    if not names:
        assert sent_headers(service.requests[0])["traceparent"] == [PARENT]


async def test_health_is_skipped() -> None:
    async with tracing(traced()) as (gateway, spans):
        await get(gateway, "/__health")
        assert spans.take() == []


async def test_headers_are_reported_without_credentials() -> None:
    layer = {"report_headers": True, "skip_headers": ["X-Skipped"]}
    layers = {
        "global": layer,
        "proxy": layer,
        "backend": {"traces": {"round_trip": True, **layer}},
    }
    answer = message(BODY, "200 OK", "X-A: b", "Set-Cookie: secret", "X-Skipped: secret")
    with serving(answering(answer)) as service:
        keys = {"input_headers": ["*"], "output_encoding": "no-op"}
        config = traced(
            endpoint(service.url, {"encoding": "no-op"}, **keys),
            layers=layers,
        )
        config["extra_config"]["auth/api-keys"] = {
            "identifier": "X-Own-Key",
            "keys": [{"key": "secret", "roles": ["a"]}],
        }
        async with tracing(config) as (gateway, spans):
            names = ["authorization", "cookie", "proxy-authorization", "x-own-key", "x-skipped"]
            names += ["api-key", "x-access-token", "x-amz-security-token", "x-hub-signature"]
            sent = [(name, "secret") for name in names]
            sent.append(("referer", "http://a/b?token=secret"))
            await get(gateway, "/e", *sent, ("x-twice", "1"), ("x-twice", "2"))
            found = by_stage(spans.take())
    for span in found.values():
        assert span.attributes["http.request.header.x-twice"] == ["1", "2"]
        assert span.attributes["http.response.header.x-a"] == ["b"]
        assert "secret" not in str(span.attributes)


async def test_layers_are_switched_off_one_by_one() -> None:
    async def tree(layers: Any, backend: Any = None) -> Any:
        with serving(answering(message(BODY))) as service:
            config = traced(endpoint(service.url, backend), layers=layers)
            async with tracing(config) as (gateway, spans):
                await get(gateway, "/e")
                return spans.tree() if len(spans.buffer) else None

    assert await tree({"global": {"disable_traces": True}}) == ENDPOINT[1]
    assert await tree({"proxy": {"disable_traces": True}}) == (ENDPOINT[0], BACKEND)
    assert await tree({"backend": {"traces": {}}}) == (
        "SERVER GET /e",
        ("INTERNAL /e", ("INTERNAL /b",)),
    )
    only = {"traces": {"disable_stage": True, "round_trip": True}}
    assert await tree({"backend": only}) == ("SERVER GET /e", ("INTERNAL /e", ("CLIENT /b",)))
    own = {"extra_config": {NAMESPACE: {"backend": only}}}
    assert await tree(None, own) == ("SERVER GET /e", ("INTERNAL /e", ("CLIENT /b",)))
    off = {"disable_traces": True}
    none = {"backend": {"traces": {"disable_stage": True}}, "proxy": off, "global": off}
    assert await tree(none) is None


async def test_static_attributes_are_those_of_the_service_and_the_endpoint() -> None:
    def static(name: str) -> list[dict[str, str]]:
        return [{"key": name, "value": "1"}, {"key": "", "value": "x"}, {"key": "x", "value": ""}]

    layers = {
        "global": {"traces_static_attributes": static("a")},
        "proxy": {"traces_static_attributes": static("b")},
        "backend": {"traces": {"round_trip": True, "static_attributes": static("c")}},
    }
    own = {"global": {"traces_static_attributes": static("d")}}
    with serving(answering(message(BODY))) as service:
        config = traced(endpoint(service.url, extra_config={NAMESPACE: own}), layers=layers)
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/e")
            found = by_stage(spans.take())
    named = {stage: {*each.attributes} & {*"abcdx", ""} for stage, each in found.items()}
    assert named == {
        "global": {"a", "d"},
        "proxy": {"b"},
        "backend": {"c"},
        "backend-request": {"c"},
    }


async def test_an_endpoint_may_have_its_own_rate() -> None:
    own = {"extra_config": {NAMESPACE: {"exporters_override": {"trace_sample_rate": 1}}}}
    with serving(answering(message(BODY))) as service:
        other = {**endpoint(service.url), "endpoint": "/other"}
        config = traced(endpoint(service.url, **own), other, trace_sample_rate=0)
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/other")
            assert spans.take() == []
            await get(gateway, "/e")
            assert spans.tree() == ENDPOINT


async def test_contexts_of_clients_can_be_ignored() -> None:
    layers = {"global": {"disable_propagation": True}}
    with serving(answering(message(BODY))) as service:
        async with tracing(traced(endpoint(service.url), layers=layers)) as (gateway, spans):
            await get(gateway, "/e", ("traceparent", PARENT), ("baggage", "k=v"))
            found = by_stage(spans.take())
    assert found["global"].parent_id == ""
    assert found["global"].context.trace_id != TRACE_ID
    headers = sent_headers(service.requests[0])
    assert TRACE_ID not in headers["traceparent"][0]
    assert "baggage" not in headers


async def test_the_environment_names_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "b3")
    with serving(answering(message(BODY))) as service:
        async with tracing(traced(endpoint(service.url))) as (gateway, spans):
            await get(gateway, "/e", ("b3", f"{TRACE_ID}-{SPAN_ID}-1"), ("traceparent", UNSAMPLED))
            span = by_stage(spans.take())["backend-request"]
    headers = sent_headers(service.requests[0])
    assert headers["b3"] == [f"{TRACE_ID}-{span.context.span_id}-1"]
    assert "traceparent" not in headers


async def test_metrics_and_traces_go_together() -> None:
    with serving(answering(message(BODY))) as service:
        config = traced(endpoint(service.url), trace_sample_rate=1)
        exporters = config["extra_config"][NAMESPACE]["exporters"]
        exporters["prometheus"] = [{"name": "p", "listen_ip": "127.0.0.1"}]
        async with tracing(config) as (gateway, spans):
            await get(gateway, "/e")
            assert spans.tree() == ENDPOINT
            metrics = gateway._assembly.metrics
            assert metrics is not None
            names = {each.name for each in metrics.samples() if each.samples}
    assert {"krakend.proxy.duration", "http.client.duration", "http.server.duration"} <= names


def findings_of(**settings: Any) -> dict[str, str]:
    """Key and level of what is found at the root, and in an endpoint."""
    own = {"extra_config": {NAMESPACE: settings.pop("own", {})}}
    loaded = survey(traced(endpoint("http://a", **own), **settings), CATALOG)
    found = with_check_findings(loaded, CATALOG).all_findings
    return {
        each.path.rpartition('"].')[2]: each.severity
        for each in found
        if NAMESPACE in each.path and ("rate" in each.path or "override" in each.path)
    }


def test_check_names_rates_and_overrides_without_effect() -> None:
    rate, override = "trace_sample_rate", "exporters_override"
    assert findings_of() == {}
    assert findings_of(trace_sample_rate=0) == {rate: "hint"}
    assert findings_of(trace_sample_rate=2) == {rate: "warning"}
    assert findings_of(own={override: {rate: 0.5}}) == {}
    assert findings_of(own={override: {rate: -1}}) == {f"{override}.{rate}": "warning"}
    no_effect = {override: {"trace_exporters": ["a"]}}
    assert findings_of(own=no_effect) == {f"{override}.trace_exporters": "warning"}
    assert findings_of(exporters_override={rate: 0.5}) == {override: "warning"}
