"""Metrics of requests to HTTP backends, at real backends. The names, labels and values are those
that KrakenD 2.13.8 gave for such requests, but for the port."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import open_gateway
from gateway.components.otel.client_measures import MAX_SERIES, build_client_meter
from gateway.components.otel.settings import OtelSettings
from gateway.config.structs import Backend, Endpoint
from gateway.http.dial import dial
from gateway.http.observed import ObservedConnection, ObservedRequest
from gateway.http.request_head import BackendRequest
from gateway.http.targets import Host, Origin
from gateway.telemetry.metrics import Registry

from ...http.service import Connection, Service, answering, message, serving
from ...http.test_tls import TRUSTING, server_side
from ...router.support import ask
from .client_backends import (
    HEAD,
    NAMESPACE,
    READ_LABELS,
    STARTED,
    endpoint,
    measured,
    scrape,
    scraped,
)

pytestmark = pytest.mark.anyio

BODY = b'{"a":1,"b":2,"c":"data"}'

CLIENT_LABELS = {
    "clientname",
    "http_request_method",
    "http_response_status_code",
    "http_route",
    "krakend_endpoint_method",
    "krakend_endpoint_route",
    "server_address",
    "server_port",
}
ROUND_TRIP = {
    "http_client_duration": "histogram",
    "http_client_request_size_total": "counter",
    "http_client_request_started_count_total": "counter",
    "http_client_response_size": "histogram",
}
DETAILS = {
    "http_client_request_dns_duration": "histogram",
    "http_client_request_get_conn_duration": "histogram",
    "http_client_request_tls_duration": "histogram",
}
READ = {
    "http_client_response_read_size_hist": "histogram",
    "http_client_response_read_size_total": "counter",
    "http_client_response_read_time_hist_seconds": "histogram",
    "http_client_response_read_time_seconds_total": "counter",
}

NO_LENGTH = "http_client_response_no_content_length_total"


async def test_a_response_is_measured_under_krakends_names() -> None:
    with serving(answering(message(BODY))) as service:
        config = measured(
            {
                "endpoint": "/users/{Id}",
                "backend": [{"url_pattern": "/ok/{Id}", "host": [service.url]}],
            }
        )
        async with open_gateway(config) as gateway:
            for number in range(3):
                assert (await ask(gateway.asgi, "GET", f"/users/{number}")).status == 200
            found = await scrape(gateway)
    assert found.types("http_client_") == ROUND_TRIP | DETAILS | READ
    labels = {
        "http_request_method": "GET",
        "http_route": "/ok/:id",
        "krakend_endpoint_method": "GET",
        "krakend_endpoint_route": "/users/:Id",
    }
    [started] = found.series(STARTED)
    assert started.labels == labels | {
        "clientname": "/ok/:id",
        "http_response_status_code": "200",
        "server_address": "127.0.0.1",
        "server_port": str(service.port),
    }
    assert started.value == 3
    assert {*started.labels} == CLIENT_LABELS
    for name in ("duration", "request_dns_duration", "request_tls_duration"):
        assert found.value(f"http_client_{name}_count", **started.labels) == 3
    assert found.value("http_client_request_get_conn_duration_count") == 3
    assert found.value("http_client_request_dns_duration_sum") == 0
    assert found.value("http_client_request_tls_duration_sum") == 0
    assert found.value("http_client_request_size_total", **started.labels) == 0
    assert found.value("http_client_response_size_sum", **started.labels) == 72
    [read] = found.series("http_client_response_read_size_total")
    assert (read.labels, read.value) == (labels, 72)
    assert {*read.labels} == READ_LABELS
    assert found.value("http_client_response_read_size_hist_count") == 3
    assert found.value("http_client_response_read_time_hist_seconds_count") == 3
    seconds = found.value("http_client_response_read_time_seconds_total")
    assert seconds == found.value("http_client_response_read_time_hist_seconds_sum")
    waited = found.value("http_client_request_get_conn_duration_sum")
    assert 0 < waited < found.value("http_client_duration_sum")


NAMES_OF_1_27 = {
    "http_client_request_body_size_bytes": "Size of HTTP client request bodies.",
    "http_client_request_duration_seconds": "Duration of HTTP client requests.",
    "http_client_response_body_size_bytes": "Size of HTTP client response bodies.",
}
DETAILS_OF_1_27 = {
    "http_client_request_dns_duration_seconds": "Time spent resolving the DNS name",
    "http_client_request_get_conn_duration_seconds": "Time spent acquiring a client connection",
    "http_client_request_started_count_total": "",
    "http_client_request_tls_duration_seconds": "Time spent on TLS negotiation and connection",
    "http_client_response_no_content_length_bytes_total": (
        "Client received responses that do not have 'Content-Length' value set"
    ),
}


async def test_names_of_the_semantic_conventions() -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    answers = iter([message(), chunked])

    def script(service: Service, connection: Connection, request: bytes) -> None:
        connection.sendall(next(answers))

    layers = {"global": {"semantic_convention": "1.27"}}
    found = await scraped(script, times=2, layers=layers)
    names = NAMES_OF_1_27 | DETAILS_OF_1_27
    assert {*found.types("http_client_")} == {*names, *READ}
    assert {name: found.help(name) for name in names} == names
    assert found.types("http_client_")["http_client_request_body_size_bytes"] == "histogram"
    assert found.value("http_client_response_no_content_length_bytes_total") == 1


async def test_without_details_the_semantic_conventions_have_no_counters() -> None:
    layers = {
        "global": {"semantic_convention": "1.27"},
        "backend": {"metrics": {"round_trip": True}},
    }
    found = await scraped(message(), layers=layers)
    assert {*found.types("http_client_")} == {*NAMES_OF_1_27}


@pytest.mark.parametrize(
    ("backend_layer", "families"),
    [
        (None, ROUND_TRIP | DETAILS | READ),
        ({}, ROUND_TRIP | DETAILS | READ),
        ({"traces": {}}, ROUND_TRIP | DETAILS | READ),
        ({"metrics": {}}, {}),
        ({"metrics": {"round_trip": True}}, ROUND_TRIP),
        ({"metrics": {"read_payload": True}}, ROUND_TRIP | READ),
        (
            {"metrics": {"read_payload": True, "detailed_connection": True}},
            ROUND_TRIP | READ | DETAILS,
        ),
        ({"metrics": {"detailed_connection": True}}, {}),
        ({"metrics": {"disable_stage": True, "round_trip": True}}, ROUND_TRIP),
    ],
)
async def test_what_is_measured_is_set_by_the_layer(
    backend_layer: Any, families: dict[str, str]
) -> None:
    at_root = await scraped(message(), layers={"backend": backend_layer})
    assert at_root.types("http_client_") == families
    if backend_layer is not None:
        own = {"extra_config": {NAMESPACE: {"backend": backend_layer}}}
        of_backend = await scraped(message(), own, layers={"backend": {"metrics": {}}})
        assert of_backend.types("http_client_") == families


async def test_static_attributes_replace_labels_but_those_of_the_request() -> None:
    pairs = {
        "b1": "v1",
        "http.route": "replaced",
        "http.request.method": "replaced",
        "server.port": "replaced",
        "clientname": "replaced",
    }
    static = [{"key": key, "value": value} for key, value in pairs.items()]
    metrics = {"round_trip": True, "read_payload": True, "static_attributes": static}
    found = await scraped(message(), layers={"backend": {"metrics": metrics}})
    [started] = found.series(STARTED)
    assert {*started.labels} == CLIENT_LABELS | {"b1"}
    assert started.labels["http_route"] == "replaced"
    assert started.labels["http_request_method"] == "GET"
    assert started.labels["clientname"] == "/b"
    assert started.labels["server_port"] != "replaced"
    [read] = found.series("http_client_response_read_size_total")
    assert (read.labels["b1"], read.labels["http_route"]) == ("v1", "replaced")


async def test_a_skipped_endpoint_is_not_measured() -> None:
    with serving(answering(message())) as service:
        config = measured(endpoint(service.url), skip_paths=["/e"])
        async with open_gateway(config) as gateway:
            await ask(gateway.asgi, "GET", "/e")
            assert (await scrape(gateway)).types("http_client_") == {}


async def test_the_request_size_is_that_of_its_body() -> None:
    with serving(answering(message())) as service:
        config = measured(endpoint(service.url, {"method": "POST"}, method="POST"))
        async with open_gateway(config) as gateway:
            await ask(gateway.asgi, "POST", "/e", b"1234567")
            found = await scrape(gateway)
    assert found.value("http_client_request_size_total", http_request_method="POST") == 7


async def test_a_response_without_a_length_is_counted() -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n"
    found = await scraped(chunked)
    assert found.value(NO_LENGTH, http_response_status_code="200") == 1
    assert found.value("http_client_response_size_count") == -1
    assert found.value("http_client_response_read_size_total") == 5


async def test_a_response_to_head_has_no_size() -> None:
    found = await scraped(HEAD + b"Content-Length: 24\r\n\r\n", {"method": "HEAD"})
    assert found.value(STARTED, http_request_method="HEAD") == 1
    assert found.value(NO_LENGTH) == found.value("http_client_response_size_count") == -1
    assert found.value("http_client_response_read_size_total", http_request_method="HEAD") == 0


async def test_a_redirect_is_a_request_of_its_own() -> None:
    def script(service: Service, connection: Connection, request: bytes) -> None:
        if request.startswith(b"GET /b "):
            connection.sendall(message(b"x" * 30, "302 Found", "Location: /other"))
        else:
            connection.sendall(message(BODY))

    found = await scraped(script)
    for status, size in (("302", 30), ("200", 24)):
        labels = {"clientname": "/b", "http_response_status_code": status}
        assert found.value(STARTED, **labels) == 1
        assert found.value("http_client_response_size_sum", **labels) == size
    assert found.value("http_client_response_read_size_total") == 54
    assert found.value("http_client_response_read_size_hist_count") == 2


async def test_the_phases_of_a_new_connection_belong_to_its_first_request() -> None:
    with serving(answering(message()), server_side()) as service:
        config = measured(endpoint(service.url)) | {"client_tls": TRUSTING}
        async with open_gateway(config) as gateway:
            sums = []
            for _ in range(2):
                assert (await ask(gateway.asgi, "GET", "/e")).status == 200
                found = await scrape(gateway)
                names = [f"http_client_request_{name}_duration" for name in ("dns", "tls")]
                sums.append([found.value(f"{name}_sum") for name in names])
            waited = found.value("http_client_request_get_conn_duration_sum")
    assert service.accepted == 1
    assert sums[0] == sums[1]
    dns, tls = sums[0]
    assert min(dns, tls) > 0
    assert dns + tls < waited
    assert [found.value(f"{name}_count") for name in names] == [2, 2]
    assert found.value(STARTED, server_address="localhost") == 2


async def test_a_gateway_without_metrics_has_plain_connections() -> None:
    with serving(answering(message())) as service:
        for layers, is_plain in ((None, True), ({}, False)):
            config = measured(endpoint(service.url), layers=layers)
            if is_plain:
                del config["extra_config"]
            async with open_gateway(config) as gateway:
                settings = gateway._assembly.resources["http"]._settings  # type: ignore[attr-defined]
                assert (settings.dial is dial) is is_plain
                assert (settings.connection is not ObservedConnection) is is_plain


def test_the_series_of_a_backend_are_bounded() -> None:
    registry = Registry()
    backend = Backend(url_pattern="/b", host=("http://a",))
    own = Endpoint(endpoint="/e", backend=(backend,))
    meter = build_client_meter(OtelSettings(), backend, own, registry)
    assert meter is not None
    for number in range(MAX_SERIES + 5):
        host = Host(Origin("http", f"h{number}", 80, f"h{number}"))
        outgoing = BackendRequest("GET", host, "/", (), b"")
        request = ObservedRequest(None, outgoing, b"", print, (), ())  # type: ignore[arg-type]
        meter.failed(request)
    samples = {each.name: each for each in registry.samples()}
    started = samples["http.client.request.started.count"].samples
    assert len(started) == MAX_SERIES + 1
    others = [each for each in started if ("server.address", "_OTHER") in each.labels]
    assert [each.value for each in others] == [5]
