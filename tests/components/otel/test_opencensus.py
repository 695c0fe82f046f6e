"""``telemetry/opencensus`` is read as ``telemetry/opentelemetry``."""

from __future__ import annotations

import json
import re

import pytest

from gateway import open_gateway
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.app.service import Gateway
from gateway.app.service import load as load_checked
from gateway.config.findings import ConfigError
from gateway.config.load import load
from gateway.core.asgi import ASGIApp
from gateway.core.component import uses_metrics

from ...http.service import answering, message, serving
from ...router.support import ask
from ..gateways import Document, refusal

NAMESPACE = "telemetry/opencensus"
PROMETHEUS: Document = {"exporters": {"prometheus": {"port": 9091}}}
LAYERS = {
    "router": "http_server_duration",
    "pipe": "krakend_proxy_duration",
    "backend": "krakend_backend_duration",
}
"""Layer -> one of its metrics."""


def configuration(settings: Document, **extra: object) -> Document:
    return {"version": 3, "extra_config": {NAMESPACE: settings, **extra}}


async def metrics_of(app: ASGIApp) -> set[str]:
    """The names of the families that are there."""
    text = (await ask(app, "GET", "/metrics")).body.decode()
    return set(re.findall(r"# TYPE (\w+) ", text))


async def after_a_request(document: Document) -> tuple[list[tuple[str, int]], set[str]]:
    """Host and port of the listeners, and the metrics on the management port."""
    reply = message(b'{"a":1}', "200 OK", "Content-Type: application/json")
    with serving(answering(reply)) as service:
        backends = [{"url_pattern": each, "host": [service.url]} for each in ("/a", "/b")]
        endpoints = [
            {"endpoint": "/one", "backend": backends[:1]},
            {"endpoint": "/merge", "backend": backends},
        ]
        async with open_gateway({**document, "endpoints": endpoints}) as gateway:
            for target in ("/one", "/merge"):
                assert (await ask(gateway.asgi, "GET", target)).status == 200
            return ports(gateway), await metrics_of(gateway.management)


def ports(gateway: Gateway) -> list[tuple[str, int]]:
    return [(each.host, each.port) for each in gateway.listeners]


@pytest.mark.anyio
async def test_the_metrics_have_the_names_of_opentelemetry() -> None:
    found, metrics = await after_a_request(configuration(PROMETHEUS))
    assert found == [("", 9091)]
    assert {*LAYERS.values(), "http_server_response_size", "target_info"} <= metrics


@pytest.mark.anyio
@pytest.mark.parametrize("off", LAYERS)
async def test_a_layer_that_is_not_enabled_is_not_measured(off: str) -> None:
    settings = {**PROMETHEUS, "enabled_layers": {each: each != off for each in LAYERS}}
    _, metrics = await after_a_request(configuration(settings))
    assert set(LAYERS.values()) - metrics == {LAYERS[off]}


@pytest.mark.anyio
async def test_a_layer_that_is_missing_in_enabled_layers_is_off() -> None:
    _, metrics = await after_a_request(configuration({**PROMETHEUS, "enabled_layers": {}}))
    assert set(LAYERS.values()) & metrics == set()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "settings", [{}, {"exporters": {}}, {"exporters": {"jaeger": {"endpoint": "http://j"}}}]
)
async def test_without_prometheus_nothing_is_measured(settings: Document) -> None:
    document = configuration(settings)
    async with open_gateway(document) as gateway:
        assert ports(gateway) == []
        assert (await ask(gateway.management, "GET", "/metrics")).status == 404


@pytest.mark.anyio
@pytest.mark.parametrize("exporters", [{}, {"prometheus": [{"name": "p", "port": 9092}]}])
async def test_beside_opentelemetry_it_has_no_effect(exporters: Document) -> None:
    other = {"telemetry/opentelemetry": {"exporters": exporters}}
    document = configuration(PROMETHEUS, **other)
    async with open_gateway(document) as gateway:
        assert ports(gateway) == ([("", 9092)] if exporters else [])
    assert found_by_check(document) == [("$", "has no effect beside telemetry/opentelemetry")]


def found_by_check(document: Document) -> list[tuple[str, str]]:
    """Key and text of all warnings."""
    loaded = load(document, CATALOG, {})
    found = [*loaded.findings, *check(loaded.service, CATALOG)]
    assert not any(each.severity == "error" for each in found)
    start = f'$.extra_config["{NAMESPACE}"]'
    return [
        (each.path.replace(start, "$"), each.text) for each in found if each.severity == "warning"
    ]


def test_check_prints_the_settings_of_today() -> None:
    settings = {
        "exporters": {"prometheus": {"port": 9091, "namespace": "orders"}},
        "enabled_layers": {"router": False, "pipe": True, "backend": False},
    }
    (path, text), _ = found_by_check(configuration(settings))
    assert path == "$"
    written = (
        '{"telemetry/opentelemetry":{"exporters":{"prometheus":[{"name":"orders","port":9091,'
        '"process_metrics":true,"go_metrics":true}]},"layers":{"global":{"disable_metrics":true},'
        '"backend":{"metrics":{"disable_stage":true}}}}}'
    )
    assert text.endswith(f"write {written}")
    assert refusal({"version": 3, "extra_config": json.loads(written)}) == ""


def test_check_names_the_keys_without_effect() -> None:
    tags = {"tag_host": True, "tag_path": True, "tag_method": True, "tag_statuscode": True}
    settings = {
        "sample_rate": 100,
        "reporting_period": 1,
        "exporters": {"prometheus": {"port": 28090, "namespace": "ns", **tags}},
    }
    _, (path, text) = found_by_check(configuration(settings))
    keys = [*(f"exporters.prometheus.{each}" for each in ("namespace", *tags))]
    for key in ("sample_rate", "reporting_period", *keys):
        assert key in text
    assert "port" not in text.replace("reporting_period", "").replace("exporters", "")
    assert path == "$"


def test_check_says_that_nothing_is_sent_to_other_exporters() -> None:
    settings = {"exporters": {"zipkin": {"collector_url": "http://z"}, "jaeger": {}}}
    zipkin, jaeger, nothing = found_by_check(configuration(settings))
    assert (zipkin[0], jaeger[0]) == ("$.exporters.zipkin", "$.exporters.jaeger")
    assert zipkin[1].startswith("is not supported: nothing is sent to it")
    assert nothing == ("$", "without exporters.prometheus nothing is measured")


def test_a_missing_port_is_that_of_opentelemetry() -> None:
    *_, (path, text) = found_by_check(configuration({"exporters": {"prometheus": {}}}))
    assert path == "$.exporters.prometheus.port"
    assert text.startswith("missing: 9090 is used")


def test_a_port_that_is_none_stops_the_start_but_not_beside_opentelemetry() -> None:
    settings = {"exporters": {"prometheus": {"port": 70000}}}
    with pytest.raises(ConfigError, match=r"exporters\.prometheus\.port: expected a port"):
        load_checked(configuration(settings), environ={})
    load_checked(configuration(settings, **{"telemetry/opentelemetry": {}}), environ={})


def test_beside_opentelemetry_it_counts_nothing() -> None:
    for document, is_used in (
        (configuration(PROMETHEUS), True),
        (configuration(PROMETHEUS, **{"telemetry/opentelemetry": {}}), False),
    ):
        assert uses_metrics(load_checked(document, environ={}).service, CATALOG) is is_used


def test_the_name_of_earlier_versions_is_the_same_namespace() -> None:
    extra = {"github_com/devopsfaith/krakend-opencensus": PROMETHEUS}
    loaded = load({"version": 3, "extra_config": extra}, CATALOG, {})
    assert NAMESPACE in loaded.service.extra_config
