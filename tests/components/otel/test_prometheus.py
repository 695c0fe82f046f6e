"""The text format of Prometheus, as KrakenD's exporter writes it."""

from __future__ import annotations

import pytest

from gateway.components.otel.prometheus import exposition, metric_name, number
from gateway.telemetry.metrics import Family, FamilySample, Kind

TARGET = (("service.name", "shop"), ("service.version", "1"))
INFO = (
    "# HELP target_info Target metadata\n"
    "# TYPE target_info gauge\n"
    'target_info{service_name="shop",service_version="1"} 1\n'
)


def text(*families: Family) -> str:
    return "".join(exposition([each.sample() for each in families], TARGET))


def test_before_the_first_request_there_is_only_the_target() -> None:
    assert text() == INFO


def test_a_histogram() -> None:
    family = Family("http.server.duration", "histogram", scope="s", bounds=(0.01, 1.0, 1048576.0))
    family.histogram({"http.route": "/a"}).observe(0.5)
    assert text(family) == (
        "# HELP http_server_duration \n"
        "# TYPE http_server_duration histogram\n"
        'http_server_duration_bucket{http_route="/a",otel_scope_name="s",'
        'otel_scope_version="",le="0.01"} 0\n'
        'http_server_duration_bucket{http_route="/a",otel_scope_name="s",'
        'otel_scope_version="",le="1"} 1\n'
        'http_server_duration_bucket{http_route="/a",otel_scope_name="s",'
        'otel_scope_version="",le="1.048576e+06"} 1\n'
        'http_server_duration_bucket{http_route="/a",otel_scope_name="s",'
        'otel_scope_version="",le="+Inf"} 1\n'
        'http_server_duration_sum{http_route="/a",otel_scope_name="s",otel_scope_version=""} 0.5\n'
        'http_server_duration_count{http_route="/a",otel_scope_name="s",otel_scope_version=""} 1\n'
        "# HELP otel_scope_info Instrumentation Scope metadata\n"
        "# TYPE otel_scope_info gauge\n"
        'otel_scope_info{otel_scope_name="s",otel_scope_version=""} 1\n' + INFO
    )


@pytest.mark.parametrize(
    ("name", "kind", "unit", "expected"),
    [
        ("http.server.request.duration", "histogram", "s", "http_server_request_duration_seconds"),
        ("http.client.request.size", "counter", "", "http_client_request_size_total"),
        ("http.client.response.read.size", "counter", "b", "http_client_response_read_size_total"),
        (
            "http.client.response.no-content-length",
            "counter",
            "",
            "http_client_response_no_content_length_total",
        ),
        ("body.size", "histogram", "By", "body_size_bytes"),
        ("process_cpu_seconds_total", "counter", "", "process_cpu_seconds_total"),
    ],
)
def test_names(name: str, kind: Kind, unit: str, expected: str) -> None:
    assert metric_name(FamilySample(name, kind, (), unit)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (3.0, "3"),
        (524288.0, "524288"),
        (1048576.0, "1.048576e+06"),
        (67108864, "6.7108864e+07"),
        (1e6, "1e+06"),
        (-2500000.5, "-2.5000005e+06"),
        (0.000981174, "0.000981174"),
        (1.9509e-05, "1.9509e-05"),
        (123456.5, "123456.5"),
        (0.0005, "0.0005"),
    ],
)
def test_numbers_are_written_as_by_go(value: float, expected: str) -> None:
    assert number(value) == expected


def test_series_with_fewer_labels_come_first_then_they_are_sorted_by_values() -> None:
    family = Family("c", "counter")
    for labels in ({"b": "2"}, {"a": "1", "b": "1"}, {"b": "10"}, {"b": "1"}):
        family.value(labels)
    lines = [line for line in text(family).splitlines() if line.startswith("c_total")]
    assert lines == [
        'c_total{b="1"} 0',
        'c_total{b="10"} 0',
        'c_total{b="2"} 0',
        'c_total{a="1",b="1"} 0',
    ]


def test_names_and_values_that_prometheus_does_not_allow() -> None:
    family = Family("c", "gauge")
    family.value({"z.dotted-key": '"\\\n', "1x é": "v", "a.b": "1", "a_b": "2", "a:c": "3"})
    assert r'c{_x__="v",a_b="1;2",a_c="3",z_dotted_key="\"\\\n"} 0' in text(family)
