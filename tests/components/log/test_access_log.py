"""The access log, beside KrakenD 2.13.8."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gateway import load
from gateway.components.auth.settings import ApiKeysSettings, ValidatorSettings
from gateway.components.log.access_log import (
    ACCESS_LOG,
    AccessFormat,
    WriteLine,
    build_access_observer,
    build_format,
)
from gateway.components.log.access_variables import AccessVariables
from gateway.components.log.durations import Clock, duration, gin_duration
from gateway.components.log.heads import Head, Secrets
from gateway.components.log.patterns import LinePatternError
from gateway.config.findings import ConfigError
from gateway.config.structs import Endpoint, RouterSettings, Service
from gateway.core.asgi import Scope
from gateway.core.observed import FOUND
from gateway.core.proxy import Request
from tests.core.seen import NOT_SEEN, Seen

SCOPE: Scope = {
    "type": "http",
    "method": "GET",
    "path": "/a",
    "query_string": b"x=1",
    "scheme": "http",
    "http_version": "1.1",
    "client": ("10.0.0.1", 5000),
    "headers": [
        (b"host", b"h:8080"),
        (b"user-agent", b'a "b"\\c\x1b'),
        (b"authorization", b"Bearer secret"),
        (b"cookie", b"secret"),
        (b"x-forwarded-for", b"1.2.3.4"),
    ],
}


def line_of(name: str, pattern: str, scope: Scope, *, has_ids: bool = False) -> WriteLine:
    prepare = build_format(AccessFormat(name, pattern), AccessVariables(), "[K]", has_ids=has_ids)
    return prepare(Head(scope, "127.0.0.1", Secrets()))


def line(name: str, pattern: str = "", scope: Scope = SCOPE, seconds: float = 0.0012345) -> str:
    return line_of(name, pattern, scope)(200, 12, seconds, NOT_SEEN)


def test_the_default_is_that_of_krakend() -> None:
    date = r"\d{4}/\d\d/\d\d - \d\d:\d\d:\d\d"
    expected = rf'\[GIN\] {date} \| 200 \|   1\.23ms \|       127\.0\.0\.1 \| GET      "/a\?x=1"\n'
    assert re.fullmatch(expected, line("default"))
    assert "|  47.27µs |" in line("default", seconds=0.00004727)
    assert "|      12s |" in line("unknown", seconds=12)


def test_httpd_formats() -> None:
    date = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    common = rf'127\.0\.0\.1 - - {date} "GET /a\?x=1 HTTP/1\.1" 200 12'
    assert re.fullmatch(common + "\n", line("httpdCommon"))
    combined = re.compile(common + r' "-" "a \\"b\\"\\\\c\\\\u001b"\n')
    assert combined.fullmatch(line("httpdCombined"))
    assert combined.fullmatch(line("httpdCombine"))


def test_json_lines() -> None:
    document = json.loads(line("json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document.pop("time"))
    assert document == {
        "logger": ACCESS_LOG,
        "status": 200,
        "bytes": 12,
        "seconds": 0.001234,
        "endpoint": "",
        "client_ip": "127.0.0.1",
        "method": "GET",
        "path": "/a",
        "query": "x=1",
        "host": "h:8080",
        "user_agent": 'a "b"\\c\\u001b',
        "proto": "HTTP/1.1",
    }


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%{statusCode} %{status} %{bytes}", "200 200 12"),
        (
            "%{latency} %{latencyMs} %{latencyUs} %{latencyNs}",
            "0.001s 1.234ms 1234.500us 1234500ns",
        ),
        ("%{method} %{path}|%{query}|%{uri} %{proto}", "GET /a|x=1|/a?x=1 HTTP/1.1"),
        ("%{scheme}://%{host} %{header.Host} %{clientIP}", "http://h:8080 h:8080 127.0.0.1"),
        ("%{header.X-Missing} %{prefix}", "- [K]"),
        ("%{header.User-Agent}", 'a \\"b\\"\\\\c\\\\u001b'),
        ("%{header.Authorization} %{header.cookie}", "Bearer ***"),
        ("%{query.x}|%{query.y}|%{jwt.sub}", "1|-|-"),
        ("%{outcome} %{queue} %{exchange} %{messageId} %{redelivered} %{completed}", "- - - - - -"),
        ("%{status}\n", "200"),
    ],
)
def test_variables(pattern: str, text: str) -> None:
    assert line("custom", pattern) == f"{text}\n"


@pytest.mark.parametrize(
    ("found", "in_pattern", "in_json"),
    [([], "-", ""), (["/users/{id}"], "/users/{id}", "/users/{id}"), (['/"'], '/\\"', '/"')],
)
def test_a_line_has_the_endpoint_that_is_known_at_its_report(
    found: list[str], in_pattern: str, in_json: str
) -> None:
    scope: Scope = {**SCOPE, FOUND: []}
    as_pattern, as_json = line_of("custom", "%{endpoint}", scope), line_of("json", "", scope)
    scope[FOUND] += found
    assert as_pattern(200, 12, 0.1, NOT_SEEN) == f"{in_pattern}\n"
    assert json.loads(as_json(200, 12, 0.1, NOT_SEEN))["endpoint"] == in_json


def test_a_line_has_the_request_id() -> None:
    scope = {**SCOPE, "headers": [(b"x-request-id", b'a"b')]}
    assert line("custom", "%{requestId}", scope) == 'a\\"b\n'
    as_json = line_of("json", "", scope, has_ids=True)(200, 1, 0.1, NOT_SEEN)
    assert json.loads(as_json)["request_id"] == 'a"b'
    assert line("custom", "%{requestId}") == "-\n"


def test_a_line_has_claims_of_the_token() -> None:
    claims = {"sub": 'a "b"\n', "n": 1, "roles": ["x", "y"], "https://x.test/role": "admin"}
    write = line_of("custom", "%{jwt.sub}|%{jwt.n}|%{jwt.roles}|%{jwt.https://x.test/role}", SCOPE)
    seen = Seen(Request("GET", "/", {}, claims=claims))
    assert write(200, 1, 0.1, seen) == 'a \\"b\\"\\\\u000a|1|[\\"x\\",\\"y\\"]|admin\n'


def test_a_line_says_whether_the_response_is_complete() -> None:
    seen = Seen(headers=((b"x-krakend-completed", b"true"),))
    assert line_of("custom", "%{completed}", SCOPE)(200, 1, 0.1, seen) == "true\n"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%{time}", r"\d{4}/\d\d/\d\d - \d\d:\d\d:\d\d\.\d{3}"),
        ("%{time:kitchen}", r"\d{1,2}:\d\d[AP]M"),
        ("%{time:RFC3339}", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"),
        ("%{time:15:04.000}", r"\d\d:\d\d\.\d{3}"),
    ],
)
def test_a_time_has_a_layout(pattern: str, expected: str) -> None:
    assert re.fullmatch(expected + "\n", line("custom", pattern))


def test_a_clock_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((1.0, 1.0004, 1.0011, 0.5))
    monkeypatch.setattr(time, "time", lambda: next(times))
    clock = Clock(str)
    texts = [clock() for _ in range(4)]
    assert texts == ["1.0", "1.0", "1.0011", "0.5"]


def test_errors_are_never_left_out_of_a_sample(caplog: pytest.LogCaptureFixture) -> None:
    observe = build_access_observer(
        AccessFormat("custom", "%{status}"), "", Service(version=3), sample=0
    )
    assert observe is not None
    with caplog.at_level(logging.INFO, ACCESS_LOG):
        for status in (200, 204, 302, 399, 400, 404, 499, 500):
            observe(SCOPE)(status, 0, 0.1, NOT_SEEN)
    assert [record.getMessage() for record in caplog.records] == ["400", "404", "499", "500"]


def test_a_sample_is_a_share(caplog: pytest.LogCaptureFixture) -> None:
    observe = build_access_observer(
        AccessFormat("custom", "%{status}"), "", Service(version=3), sample=0.5
    )
    assert observe is not None
    report = observe(SCOPE)
    with caplog.at_level(logging.INFO, ACCESS_LOG):
        for _ in range(1000):
            report(200, 0, 0.1, NOT_SEEN)
    assert 300 < len(caplog.records) < 700


@pytest.mark.parametrize("value", [b"secret", b"secret, x", b"Bearer"])
def test_an_authorization_without_a_scheme_is_hidden(value: bytes) -> None:
    scope = {**SCOPE, "headers": [(b"authorization", value)]}
    assert line("custom", "%{header.authorization}", scope) == "***\n"


def test_the_header_of_a_token_is_hidden() -> None:
    validator = ValidatorSettings(alg="RS256", auth_header_name="X-Token")
    endpoint = Endpoint(endpoint="/a", extra_config={"auth/validator": validator})
    secrets = Secrets(Service(version=3, endpoints=(endpoint,)))
    scope = {**SCOPE, "headers": [(b"x-token", b"Bearer secret")]}
    assert Head(scope, "127.0.0.1", secrets).header("x-token") == "***"


def test_api_keys_are_hidden() -> None:
    service = Service(
        version=3,
        extra_config={"auth/api-keys": ApiKeysSettings(identifier="X-My", strategy="header")},
        endpoints=(
            Endpoint(
                endpoint="/a",
                extra_config={
                    "auth/api-keys": ApiKeysSettings(identifier="k.y", strategy="query_string")
                },
            ),
        ),
    )
    secrets = Secrets(service)
    assert Secrets().headers < secrets.headers
    scope = {
        **SCOPE,
        "query_string": b"k.y=secret&kxy=1&a=2&k.y=secret",
        "headers": [(b"x-my", b"secret")],
    }
    head = Head(scope, "127.0.0.1", secrets)
    assert head.uri == head.raw_uri == "/a?k.y=***&kxy=1&a=2&k.y=***"
    assert head.header("x-my") == "***"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (883.829e-6, "883.829µs"),
        (0.0012345, "1.23ms"),
        (0.0049, "4.9ms"),
        (0.12, "120ms"),
        (1.23456, "1.23s"),
        (61, "1m0s"),
        (79.9, "1m10s"),
    ],
)
def test_latencies_of_the_default_are_shortened_as_by_gin(seconds: float, text: str) -> None:
    assert gin_duration(seconds) == text


def test_nobody_can_forge_a_line() -> None:
    scope = {**SCOPE, "path": '/a\n[GIN] "forged"', "query_string": b"\n\xff"}
    for name in ("default", "json", "httpdCombined"):
        assert line(name, scope=scope).count("\n") == 1


@pytest.mark.parametrize(
    "pattern",
    ["text", "%{jwt}", "%{latency_x}", "%{header}", "%{path.x}", "%{path:x}", "%{header.x:y}x%{x}"],
)
def test_a_bad_pattern_says_what_there_is(pattern: str) -> None:
    with pytest.raises(LinePatternError, match=r"expected a pattern|is no variable of the access"):
        build_format(AccessFormat("custom", pattern), AccessVariables())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ns"),
        (1e-9, "1ns"),
        (999e-9, "999ns"),
        (1e-6, "1µs"),
        (883.829e-6, "883.829µs"),
        (0.0012, "1.2ms"),
        (0.120, "120ms"),
        (1, "1s"),
        (59.5, "59.5s"),
        (63.25, "1m3.25s"),
        (7203.25, "2h0m3.25s"),
    ],
)
def test_durations_are_written_as_by_go(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def lines_of(caplog: pytest.LogCaptureFixture, router: RouterSettings) -> list[str]:
    """What is logged for requests to two paths."""
    service = Service(version=3, extra_config={"router": router})
    access_format = AccessFormat("custom", "%{path} %{clientIP}")
    observe = build_access_observer(access_format, "", service)
    if observe is None:
        return ["no access log"]
    with caplog.at_level(logging.INFO, ACCESS_LOG):
        for path in ("/a", "/b"):
            observe({**SCOPE, "path": path})(200, 0, 0.1, NOT_SEEN)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("sample", [-0.1, 1.1])
def test_a_sample_is_from_0_to_1(sample: float) -> None:
    settings = {"level": "INFO", "access_log_sample": sample}
    document = {"version": 3, "extra_config": {"telemetry/logging": settings}}
    with pytest.raises(ConfigError, match="access_log_sample: expected 0 to 1"):
        load(document)


def test_paths_may_be_skipped(caplog: pytest.LogCaptureFixture) -> None:
    assert lines_of(caplog, RouterSettings(logger_skip_paths=("/a",))) == ["/b 1.2.3.4"]


def test_the_access_log_may_be_off(caplog: pytest.LogCaptureFixture) -> None:
    assert lines_of(caplog, RouterSettings(disable_access_log=True)) == ["no access log"]


def test_an_address_of_a_proxy_that_is_not_trusted_does_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = RouterSettings(trusted_proxies=("192.168.0.0/16",))
    assert lines_of(caplog, router) == ["/a 10.0.0.1", "/b 10.0.0.1"]


@pytest.mark.parametrize(
    ("extra", "is_said"),
    [
        ({}, False),
        ({"telemetry/metrics": {}}, True),
        ({"router": {"logger_skip_paths": ["/__health"]}}, True),
        ({"telemetry/metrics": {}, "router": {"disable_access_log": True}}, False),
        ({"telemetry/logging": {"level": "INFO"}}, False),
    ],
)
def test_check_says_that_there_is_no_access_log(extra: dict[str, Any], is_said: bool) -> None:
    document = {"version": 3, "endpoints": [], "extra_config": extra}
    found = [each for each in load(document).all_findings if "access log" in each.text]
    assert [each.severity for each in found] == ["hint"] * is_said


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_every_response_of_a_gateway_has_a_line(library: str, tmp_path: Path) -> None:
    """Without a task, with one, and of no endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    backend: dict[str, Any] = {"host": [f"http://127.0.0.1:{port}"], "url_pattern": "/__health"}
    settings = {
        "access_log_format": "custom",
        "access_log_custom_format": "%{status} %{uri} %{endpoint}",
    }
    configuration = {
        "version": 3,
        "port": port,
        "listen_ip": "127.0.0.1",
        "extra_config": {
            "telemetry/logging": {"level": "CRITICAL", **settings},
            "router": {"logger_skip_paths": ["/__health"]},
        },
        "endpoints": [
            {"endpoint": "/direct", "backend": [backend]},
            {"endpoint": "/stream/{id}", "output_encoding": "no-op", "backend": [backend]},
        ],
    }
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps(configuration))
    command = [sys.executable, "-m", "gateway", "run", "-c", str(file)]
    with subprocess.Popen(
        [*command, "--async-library", library],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "http://" in process.stderr.readline()
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        statuses = []
        for path in ("/direct?a=1", "/stream/1", "/missing"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()
        process.terminate()
        lines = process.stdout.read().splitlines()
    assert statuses == [200, 200, 404]
    assert sorted(lines) == [
        "200 /direct?a=1 /direct",
        "200 /stream/1 /stream/{id}",
        "404 /missing -",
    ]
