"""The words of the loader: what was found, what was expected, what to do; and no secret."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from gateway import load as load_and_check
from gateway import open_gateway
from gateway.app.catalog import CATALOG
from gateway.app.check import check
from gateway.components.expression import syntax_problem
from gateway.components.schema import schema_problem
from gateway.config.findings import ConfigError
from gateway.config.load import load


def reported(source: Any, **environ: str) -> str:
    try:
        loaded = load(source, CATALOG, environ)
    except ConfigError as error:
        return "\n".join(map(str, error.findings))
    return "\n".join(map(str, [*loaded.findings, *check(loaded.service, CATALOG)]))


def with_endpoint(**changes: Any) -> dict[str, Any]:
    endpoint = {"endpoint": "/a", "backend": [{"host": ["http://service"]}], **changes}
    return {"version": 3, "endpoints": [endpoint]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'\xef\xbb\xbf{"version": 3}', "the file begins with a byte order mark: save it as UTF-8"),
        (b'{"version": 3', "not JSON: the document ends too early, line 1"),
        (b'{\n// mine\n"version": 3}', 'JSON has no comments: use a key such as "@comment"'),
        (b'{"version": "\xff"}', "not UTF-8"),
    ],
)
def test_a_file_that_is_not_json_is_described(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "shop.json"
    path.write_bytes(content)
    assert reported(path).startswith(f"error: {path}: ")
    assert text in reported(path)
    assert "JSON is malformed" not in reported(path)


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_version_is_reported_with_the_tool_that_converts_it(version: int) -> None:
    assert "github.com/krakend/krakend-config-migrator" in reported({"version": version})


def test_a_missing_version_is_reported_as_missing() -> None:
    assert reported({}) == 'error: $.version: "version" is missing: expected 3'


@pytest.mark.parametrize(
    ("timeout", "text"),
    [
        (2, 'taken as 2 nanoseconds, as in KrakenD; did you mean "2s"?'),
        (2_000_000_000, "taken as 2000000000 nanoseconds, as in KrakenD"),
    ],
)
def test_a_number_as_a_duration_is_nanoseconds(timeout: int, text: str) -> None:
    assert reported(with_endpoint(timeout=timeout)).endswith(text)


def test_an_endpoint_without_a_path_is_reported_with_its_path() -> None:
    document = with_endpoint()
    document["endpoints"][0]["endpont"] = document["endpoints"][0].pop("endpoint")
    assert 'GET /: $.endpoints[0]: no "endpoint": its path is "/"' in reported(document)


def test_a_misspelt_method_is_reported_with_the_right_one() -> None:
    assert reported(with_endpoint(method="PSOT")).endswith('left out; did you mean "POST"?')


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("http://me:pw@service", "KrakenD's sanitizer refuses a login"),
        ("http://127.0.0.1:1", "KrakenD's sanitizer refuses a port of one digit"),
        ("http://service/path", "without a path"),
    ],
)
def test_a_host_that_is_refused_is_reported_with_the_reason_and_the_solution(
    host: str, text: str
) -> None:
    found = reported(with_endpoint(backend=[{"host": [host]}]))
    assert text in found
    assert '"disable_host_sanitize": true allows any URL' in found
    assert "pw" not in found


SECRET = 99887766


@pytest.mark.parametrize(
    "extra",
    [
        {"auth/client-credentials": {"client_secret": SECRET, "token_url": "https://a"}},
        {"auth/client-credentials": {"client_secret": [SECRET], "token_url": "https://a"}},
        {"redis": {"connection_pools": [{"name": "a", "address": "b", "password": SECRET}]}},
        {"auth/api-keys": {"salt": SECRET, "keys": [{"key": SECRET, "roles": ["a"]}]}},
        {"auth/api-keys": {"keys": str(SECRET)}},
        {"auth/basic": {"users": str(SECRET)}},
        {"auth/basic": {"users": {"me": SECRET}}},
        {"telemetry/opentelemetry-security": {"otlp": [{"name": "a", "headers": {"k": SECRET}}]}},
        {"telemetry/opentelemetry-security": {"otlp": [{"name": "a", "headers": str(SECRET)}]}},
        {"telemetry/opentelemetry-security": {"otlp": str(SECRET)}},
        {"auth/revoker": {"revoke_server_api_key": SECRET, "TTL": 5, "token_keys": ["jti"]}},
    ],
)
@pytest.mark.parametrize("level", ["service", "backend"])
def test_a_secret_of_a_wrong_type_is_never_printed(extra: dict[str, Any], level: str) -> None:
    document = with_endpoint(backend=[{"host": ["http://service"], "extra_config": extra}])
    if level == "service":
        document = {**with_endpoint(), "extra_config": extra}
    found = reported(document)
    assert str(SECRET) not in found
    assert found


def test_the_environment_is_in_no_signature() -> None:
    for function in (load, load_and_check, open_gateway):
        for parameter in inspect.signature(function).parameters.values():
            assert not hasattr(parameter.default, "keys")


def test_a_schema_of_an_unknown_type_is_reported_with_the_types_that_there_are() -> None:
    found = schema_problem({"properties": {"a": {"type": "objekt"}}})
    assert found is not None
    path, text = found
    assert path == "properties.a.type"
    assert 'unknown "objekt", did you mean "object"? There are: array, boolean' in text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("req_method ==", "1:14: the expression ends too early"),
        ("req_method = 'a'", "1:12: unexpected '= '"),
    ],
)
def test_a_syntax_error_of_an_expression_is_reported_without_the_parser_s_tokens(
    expression: str, text: str
) -> None:
    assert syntax_problem(expression) == text


def test_a_routing_key_that_looks_static_is_reported_with_the_key_that_makes_it_so() -> None:
    producer = {"exchange": "x", "routing_key": "orders.new", "durable": True}
    backend = {
        "host": ["amqp://broker"],
        "disable_host_sanitize": True,
        "extra_config": {"backend/amqp/producer": producer},
    }
    found = reported(with_endpoint(method="POST", backend=[backend]))
    assert '"static_routing_key": true every message has the key "orders.new"' in found


def test_a_template_that_ranges_over_no_value_is_described_without_words_of_python(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gateway.json.j2"
    path.write_text('{"version": 3,\n"endpoints": [{% for each in shop.paths %}{% endfor %}]}')
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "shop.json").write_text('{"paths": null}')
    found = reported(path, FC_ENABLE="1", FC_SETTINGS=str(settings))
    assert f"{path}:2: expected a list or an object to go through, found no value" in found
    assert "NoneType" not in found
