"""What is counted of responses, endpoints and backends. The labels are those of KrakenD 2.13.8."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app.service import Gateway, load, open_gateway
from gateway.components.otel.settings import backend_route_of

from ..gateways import Backends, Document, ask, backend
from .scrapes import SETTINGS, names, scrape, series

pytestmark = pytest.mark.anyio

BODIES = {"/a": b'{"a":1}', "/b": b'{"b":1}', "/users/{id}": b"{}"}
GOOD = {"error": "false", "canceled": "false", "complete": "true"}
BAD = {"error": "true", "canceled": "false", "complete": "false"}


@asynccontextmanager
async def measured(
    *endpoints: Document, way: str = "later", **settings: Any
) -> AsyncGenerator[Gateway]:
    configuration = {
        "version": 3,
        "extra_config": {"telemetry/opentelemetry": {**SETTINGS, **settings}},
        "endpoints": list(endpoints),
    }
    catalog = Backends(BODIES, way).catalog()
    async with open_gateway(configuration, catalog=catalog) as gateway:
        yield gateway


def endpoint(path: str, *paths: str, **keys: Any) -> Document:
    return {"endpoint": path, "backend": [backend(each) for each in paths], **keys}


def _others(text: str) -> set[str]:
    """The names of all families but the gateway's own."""
    return {each for each in names(text) if not each.startswith("hutch_gateway_")}


async def test_before_the_first_request_there_is_no_series() -> None:
    async with measured(endpoint("/e", "/a")) as gateway:
        assert _others(await scrape(gateway)) == {"target_info"}


@pytest.mark.parametrize("way", ["now", "later", "ask"])
async def test_the_only_backend_of_an_endpoint(way: str) -> None:
    async with measured(endpoint("/users/{id}", "/users/{id}"), way=way) as gateway:
        for number in range(3):
            await ask(gateway.asgi, f"/users/{number}")
        text = await scrape(gateway)
    route = {"http_request_method": "GET", "http_route": "/users/:id"}
    response = {**route, "http_response_status_code": "200", "url_scheme": "http"}
    assert [*series(text, "http_server_duration_count")] == [(response, 3)]
    assert [*series(text, "http_server_response_size_sum")] == [(response, 6)]
    assert [*series(text, "krakend_proxy_duration_count")] == [({**route, **GOOD}, 3)]
    part = {"krakend_endpoint_method": "GET", "krakend_endpoint_route": "/users/:id"}
    assert [*series(text, "krakend_backend_duration_count")] == [({**route, **part, **GOOD}, 3)]


@pytest.mark.parametrize("way", ["now", "later", "ask"])
async def test_a_failure_and_a_merge_of_which_a_part_fails(way: str) -> None:
    endpoints = endpoint("/bad", "/no"), endpoint("/half", "/a", "/no")
    async with measured(*endpoints, way=way) as gateway:
        await ask(gateway.asgi, "/bad")
        await ask(gateway.asgi, "/half")
        text = await scrape(gateway)
    statuses = {
        labels["http_route"]: labels["http_response_status_code"]
        for labels, _ in series(text, "http_server_duration_count")
    }
    assert statuses == {"/bad": "500", "/half": "200"}
    found = series(text, "krakend_proxy_duration_count", "http_request_method")
    assert [*found] == [({"http_route": "/bad", **BAD}, 1), ({"http_route": "/half", **BAD}, 1)]
    backends = {
        (labels["krakend_endpoint_route"], labels["http_route"], labels["error"])
        for labels, _ in series(text, "krakend_backend_duration_count")
    }
    assert backends == {("/bad", "/no", "true"), ("/half", "/a", "false"), ("/half", "/no", "true")}


async def test_a_stage_of_the_endpoint_belongs_to_the_endpoint_alone() -> None:
    refusing = {"validation/cel": [{"check_expr": "req_method == 'POST'"}]}
    async with measured(endpoint("/e", "/a", extra_config=refusing)) as gateway:
        await ask(gateway.asgi)
        text = await scrape(gateway)
    [(labels, _)] = series(text, "krakend_proxy_duration_count")
    assert labels == {"http_request_method": "GET", "http_route": "/e", **BAD}
    assert [*series(text, "krakend_backend_duration_count")] == []


async def test_responses_without_an_endpoint() -> None:
    async with measured(endpoint("/e", "/a")) as gateway:
        for method, path in ("GET", "/no"), ("WEIRD", "/no"), ("POST", "/e"), ("GET", "/__health"):
            await ask(gateway.asgi, path, method=method)
        text = await scrape(gateway)
    found = [
        (labels["http_request_method"], labels["http_route"])
        for labels, _ in series(text, "http_server_duration_count")
    ]
    assert found == [
        ("GET", "404 Not Found"),
        ("POST", "405 Method Not Allowed"),
        ("_OTHER", "404 Not Found"),
    ]


async def test_the_application_may_be_mounted_below_a_path() -> None:
    async with measured(endpoint("/e", "/a")) as gateway:

        async def below(scope: Any, receive: Any, send: Any) -> None:
            scope = {**scope, "root_path": "/api", "path": "/api/e"}
            await gateway.asgi(scope, receive, send)

        await ask(below)
        text = await scrape(gateway)
    [(labels, _)] = series(text, "http_server_duration_count")
    assert labels["http_route"] == "/e"


@pytest.mark.parametrize(
    ("skipped", "routes"),
    [
        (["/users/{id}"], {"/e", "404 Not Found", "200 OK"}),
        (["/users/:id"], {"/e", "404 Not Found", "200 OK"}),
        (["/"], {"/e", "/users/:id", "404 Not Found", "200 OK"}),
        (["/users/"], {"/e", "404 Not Found", "200 OK"}),
        (["/no"], {"/e", "/users/:id", "200 OK"}),
        ([""], {"/e", "/users/:id", "404 Not Found", "200 OK"}),
        ([], {"/e", "/users/:id", "404 Not Found"}),
    ],
)
async def test_skipped_paths(skipped: list[str], routes: set[str]) -> None:
    endpoints = endpoint("/e", "/a"), endpoint("/users/{id}", "/users/{id}")
    async with measured(*endpoints, skip_paths=skipped) as gateway:
        for path in ("/e", "/users/1", "/no", "/__health"):
            await ask(gateway.asgi, path)
        text = await scrape(gateway)
    found = {labels["http_route"] for labels, _ in series(text, "http_server_duration_count")}
    assert found == routes
    measured_routes = {
        labels["http_route"] for labels, _ in series(text, "krakend_proxy_duration_count")
    }
    assert measured_routes == {each for each in routes if each.startswith("/")}


async def test_static_labels_and_overrides() -> None:
    def labels(**values: str) -> list[Document]:
        return [{"key": key, "value": value} for key, value in values.items()]

    layers = {
        "global": {"metrics_static_attributes": labels(zone="a", kind="service", empty="")},
        "proxy": {"metrics_static_attributes": labels(zone="p")},
        "backend": {"metrics": {"static_attributes": labels(zone="b")}},
    }
    own = {
        "telemetry/opentelemetry": {
            "global": {"metrics_static_attributes": labels(kind="endpoint")},
            "proxy": {"metrics_static_attributes": labels(team="t")},
        }
    }
    of_backend = {
        "telemetry/opentelemetry": {"backend": {"metrics": {"static_attributes": labels(own="1")}}}
    }
    plain = endpoint("/plain", "/a")
    changed = {
        "endpoint": "/changed",
        "extra_config": own,
        "backend": [backend("/a", extra_config=of_backend)],
    }
    async with measured(plain, changed, layers=layers) as gateway:
        await ask(gateway.asgi, "/plain")
        await ask(gateway.asgi, "/changed")
        text = await scrape(gateway)

    def static(name: str) -> list[Document]:
        known = {"zone", "kind", "team", "own", "empty"}
        return [
            {key: value for key, value in found.items() if key in known}
            for found, _ in series(text, name)
        ]

    assert static("http_server_duration_count") == [
        {"zone": "a", "kind": "endpoint"},
        {"zone": "a", "kind": "service"},
    ]
    assert static("krakend_proxy_duration_count") == [{"team": "t"}, {"zone": "p"}]
    assert static("krakend_backend_duration_count") == [{"own": "1"}, {"zone": "b"}]


LE = [{"key": "zone", "value": "a"}, {"key": "le", "value": "b"}]
"""Static labels, of which one must not be on a histogram."""


async def test_a_static_label_does_not_replace_the_bounds_of_a_histogram() -> None:
    layers = {"global": {"metrics_static_attributes": LE}}
    async with measured(endpoint("/e", "/a"), layers=layers) as gateway:
        await ask(gateway.asgi, "/e")
        text = await scrape(gateway)
    assert 'zone="a"' in text
    assert 'le="b"' not in text


def test_check_warns_of_a_static_label_that_is_dropped() -> None:
    name, static = "telemetry/opentelemetry", {"metrics": {"static_attributes": LE}}
    own = {
        **SETTINGS,
        "layers": {
            "global": {"metrics_static_attributes": LE},
            "proxy": {"metrics_static_attributes": LE},
            "backend": static,
        },
    }
    of_endpoint = {
        "global": {"metrics_static_attributes": LE},
        "proxy": {"metrics_static_attributes": LE},
    }
    of_backend = {"url_pattern": "/", "host": ["a"], "extra_config": {name: {"backend": static}}}
    configuration = {
        "version": 3,
        "extra_config": {name: own},
        "endpoints": [
            {"endpoint": "/e", "backend": [of_backend], "extra_config": {name: of_endpoint}}
        ],
    }
    found = [each for each in load(configuration).all_findings if "bounds" in each.text]
    assert {each.severity for each in found} == {"warning"}
    root, own_path = (f'{part}.extra_config["{name}"].' for part in ("$", "$.endpoints[0]"))
    backend_path = f'$.endpoints[0].backend[0].extra_config["{name}"].'
    assert {each.path for each in found} == {
        f"{root}layers.global.metrics_static_attributes[1].key",
        f"{root}layers.proxy.metrics_static_attributes[1].key",
        f"{root}layers.backend.metrics.static_attributes[1].key",
        f"{own_path}global.metrics_static_attributes[1].key",
        f"{own_path}proxy.metrics_static_attributes[1].key",
        f"{backend_path}backend.metrics.static_attributes[1].key",
    }


def test_a_query_string_of_a_backend_is_no_label() -> None:
    assert backend_route_of("orders/{Id}?api_key=secret") == "/orders/:id"


async def test_layers_may_be_off() -> None:
    layers = {
        "global": {"disable_metrics": True},
        "proxy": {"disable_metrics": True},
        "backend": {"metrics": {"disable_stage": True}},
    }
    async with measured(endpoint("/e", "/a"), endpoint("/m", "/a", "/b"), layers=layers) as gateway:
        await ask(gateway.asgi, "/e")
        await ask(gateway.asgi, "/m")
        assert _others(await scrape(gateway)) == {"target_info"}


async def test_names_of_the_semantic_conventions() -> None:
    layers = {"global": {"semantic_convention": "1.27"}}
    async with measured(endpoint("/e", "/a"), layers=layers) as gateway:
        await ask(gateway.asgi)
        text = await scrape(gateway)
    assert "http_server_request_duration_seconds" in names(text)
    assert "http_server_response_body_size_bytes" in names(text)
    assert "krakend_proxy_duration" in names(text)
    help_text = "# HELP http_server_request_duration_seconds Duration of HTTP server requests.\n"
    assert help_text in text


async def test_buckets() -> None:
    buckets = {"time_buckets": [1, 2], "size_buckets": [5]}
    async with measured(endpoint("/e", "/a"), histograms=buckets) as gateway:
        await ask(gateway.asgi)
        text = await scrape(gateway)
    times = [labels["le"] for labels, _ in series(text, "krakend_proxy_duration_bucket")]
    sizes = [labels["le"] for labels, _ in series(text, "http_server_response_size_bucket")]
    assert (times, sizes) == (["1", "2", "+Inf"], ["5", "+Inf"])
