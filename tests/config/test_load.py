"""Configurations: valid ones, those with warnings, those with errors, and the paths of findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.amqp.settings import ConsumerSettings
from gateway.app.catalog import CATALOG
from gateway.config.findings import ConfigError, Finding
from gateway.config.load import Loaded, load
from gateway.config.structs import Service

URL = "amqp://guest:guest@localhost:5672"
CONSUMER = "backend/amqp/consumer"


def backend(**changes: Any) -> dict[str, Any]:
    settings = {"name": "q", "exchange": "ex", "routing_key": ["#"]}
    return {
        "host": [URL],
        "disable_host_sanitize": True,
        "extra_config": {CONSUMER: settings},
        **changes,
    }


def endpoint(**changes: Any) -> dict[str, Any]:
    return {"endpoint": "/a", "backend": [backend()], **changes}


def document(*endpoints: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"version": 3, "endpoints": list(endpoints or (endpoint(),)), **changes}


def loaded(source: Any, **environ: str) -> Loaded:
    return load(source, CATALOG, environ)


def service(source: Any, **environ: str) -> Service:
    return loaded(source, **environ).service


def findings(source: Any, **environ: str) -> list[Finding]:
    try:
        return list(loaded(source, **environ).findings)
    except ConfigError as error:
        return list(error.findings)


def errors(source: Any, **environ: str) -> dict[str, str]:
    found = findings(source, **environ)
    return {each.path: each.text for each in found if each.severity == "error"}


def warnings(source: Any, **environ: str) -> dict[str, str]:
    return {each.path: each.text for each in loaded(source, **environ).findings}


def test_defaults_are_those_of_krakend() -> None:
    it = service(document())
    assert (it.port, it.timeout, it.max_header_bytes) == (8080, 2.0, 1_000_000)
    only = it.endpoints[0]
    assert (only.method, only.timeout, only.output_encoding) == ("GET", 2.0, "json")
    settings = only.backend[0].extra_config[CONSUMER]
    assert isinstance(settings, ConsumerSettings)
    assert settings.durable is False
    assert settings.routing_key == ("#",)


def test_null_is_a_default_but_in_data_it_is_a_value() -> None:
    extra = {"proxy": {"sequential": None, "static": {"data": {"a": None, "b": {"c": None}}}}}
    [only] = service(document(endpoint(timeout=None, extra_config=extra))).endpoints
    assert only.timeout == 2.0
    settings = only.extra_config["proxy"]
    assert settings.static.data == {"a": None, "b": {"c": None}}
    assert settings.sequential is False


def test_the_root_is_inherited() -> None:
    text = document(
        {"endpoint": "/a", "backend": [{**backend(), "host": []}]},
        host=[URL],
        timeout="5s",
        cache_ttl="1m",
        output_encoding="string",
    )
    only = service(text).endpoints[0]
    assert (only.timeout, only.cache_ttl, only.output_encoding) == (5.0, 60.0, "string")
    assert only.backend[0].host == (URL,)


@pytest.mark.parametrize("name", ["json", "yaml", "toml"])
def test_formats(name: str, tmp_path: Path) -> None:
    texts = {
        "json": json.dumps(document()),
        "yaml": f"""
version: 3
endpoints:
  - endpoint: /a
    backend:
      - host: ["{URL}"]
        disable_host_sanitize: true
        extra_config:
          {CONSUMER}: {{name: q, exchange: ex, routing_key: ["#"]}}
""",
        "toml": f"""
version = 3
[[endpoints]]
endpoint = "/a"
[[endpoints.backend]]
host = ["{URL}"]
disable_host_sanitize = true
[endpoints.backend.extra_config."{CONSUMER}"]
name = "q"
exchange = "ex"
routing_key = ["#"]
""",
    }
    path = tmp_path / f"gateway.{name}"
    path.write_text(texts[name])
    assert service(path) == service(document())


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("a.json", '{"version": 3,\n "port": }', "line 2, column 10"),
        ("a.json", '{"version": 3', "line 1"),
        ("a.yaml", "a: [1\nb: 2", "line 2"),
        ("a.toml", "a = \n", "line 1"),
        ("a.json", "[1]", "expected an object"),
        ("a.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_syntax_error_says_where(tmp_path: Path, name: str, text: str, where: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert where in errors(path)["$"]


def test_a_missing_file_is_a_clear_error() -> None:
    assert "cannot read" in errors("/does/not/exist.json")["$"]


def test_every_problem_is_reported_at_once() -> None:
    text = document(
        endpoint(timeout="2 seconds"),
        endpoint(endpoint="/__debug/x"),
        {"endpoint": "/b", "backend": []},
        endpoint(endpoint="/c", backend=[backend(url_pattern="/{id}")]),
        endpoint(endpoint="/d", output_encoding="no-op", backend=[backend(), backend()]),
        version=2,
        port="many",
    )
    assert errors(text).keys() == {
        "$.version",
        "$.port",
        "$.endpoints[0].timeout",
        "$.endpoints[1].endpoint",
        "$.endpoints[2].backend",
        "$.endpoints[3].backend[0].url_pattern",
        "$.endpoints[4].output_encoding",
    }


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"endpoint": "/a/*/b"}, "endpoint"),
        ({"endpoint": "/a/*rest"}, "endpoint"),
        ({"backend": [backend(host=["http://x"])]}, "backend[0].host[0]"),
        ({"backend": [backend(host=[])]}, "backend[0]"),
        ({"backend": [backend(disable_host_sanitize=False)]}, "backend[0].host[0]"),
        ({"backend": [backend(mapping=["a"])]}, "backend[0].mapping"),
        (
            {"backend": [backend(extra_config={CONSUMER: {"exchange": "ex"}})]},
            f'backend[0].extra_config["{CONSUMER}"]',
        ),
    ],
)
def test_an_invalid_value_is_an_error_at_its_path(changes: dict[str, Any], path: str) -> None:
    assert f"$.endpoints[0].{path}" in errors(document(endpoint(**changes)))


def test_equal_endpoints_are_refused_also_with_other_names_of_parameters() -> None:
    text = document(endpoint(endpoint="/a/{x}"), endpoint(endpoint="/a/{y}"))
    assert errors(text) == {
        "$.endpoints[1].endpoint": "GET /a/{y} is already defined at $.endpoints[0].endpoint"
    }
    other_method = document(endpoint(), endpoint(method="POST"))
    assert errors(other_method) == {}


def test_a_parameter_has_one_name_within_a_method_and_any_name_in_another() -> None:
    text = document(
        endpoint(endpoint="/things/{owner}"),
        endpoint(endpoint="/things/{id}", method="DELETE"),
        endpoint(endpoint="/things/{thing}/parts", method="PUT"),
    )
    assert errors(text) == {}
    text["endpoints"].append(endpoint(endpoint="/things/{other}/parts"))
    assert errors(text) == {
        "$.endpoints[3].endpoint": (
            "{other} has the name {owner} at $.endpoints[0].endpoint, also for GET"
        )
    }


def test_a_parameter_with_text_after_it_has_another_name() -> None:
    text = document(endpoint(endpoint="/a/{x}/b"), endpoint(endpoint="/a/{x}.json"))
    assert "{x.json} has the name {x}" in errors(text)["$.endpoints[1].endpoint"]


@pytest.mark.parametrize(
    ("changes", "path", "word"),
    [
        ({"endpoint_": 1}, "endpoint_", "endpoint"),
        ({"concurrent_calls": "3"}, "concurrent_calls", "taken as 3"),
        ({"input_headers": "X-A"}, "input_headers", "its only item"),
        ({"output_encoding": "nosuch"}, "output_encoding", '"json" is used'),
        ({"output_encoding": "XML"}, "output_encoding", '"json" is used'),
        (
            {"output_encoding": "fast-json", "backend": [backend(encoding="xml")]},
            "output_encoding",
            '"xml" is used',
        ),
        (
            {"output_encoding": "fast-json", "backend": [backend(encoding="safejson")]},
            "output_encoding",
            '"json" is used',
        ),
        ({"method": "HEAD"}, "method", "left out"),
        ({"timeout": "-1s"}, "timeout", "fail"),
        ({"timeout": 2}, "timeout", 'taken as 2 nanoseconds, as in KrakenD; did you mean "2s"?'),
        ({"endpoint": "/a/{id}.json"}, "endpoint", "so {id} is never set"),
        ({"endpoint": "/a/{rest:.+}"}, "endpoint", "{rest:.+} is not a parameter but plain text"),
        ({"endpoint": "/a/{a.b}"}, "endpoint", "{a.b} is not a parameter but plain text"),
        ({"backend": [{}]}, "backend[0]", "no host"),
        ({"backend": [backend(extra_config={})]}, "backend[0].host[0]", "not an HTTP host"),
    ],
)
def test_a_value_that_krakend_tolerates_is_a_warning(
    changes: dict[str, Any], path: str, word: str
) -> None:
    assert word in warnings(document(endpoint(**changes)))[f"$.endpoints[0].{path}"]


def test_comments_are_not_unknown_keys() -> None:
    text = document(endpoint(**{"@comment": 1, "$x": 2, "_note": 3, "#": 4}), **{"$schema": "x"})
    assert warnings(text) == {}


def test_a_legacy_namespace_is_the_new_one() -> None:
    settings = {"name": "q", "exchange": "ex", "routing_key": ["#"]}
    old = backend(extra_config={"github.com/devopsfaith/krakend-amqp/consume": settings})
    assert service(document(endpoint(backend=[old]))) == service(document())


@pytest.mark.parametrize(
    "namespace",
    [
        "auth/of-tomorrow",
        "validation/of-tomorrow",
        "security/policies",
    ],
)
def test_an_unknown_security_setting_stops_the_start(namespace: str) -> None:
    text = document(endpoint(extra_config={namespace: {}}))
    assert "a security setting, so the gateway does not start" in next(iter(errors(text).values()))


def test_other_unknown_namespaces_are_warnings() -> None:
    found = warnings(document(extra_config={"nosuch/thing": {}, "documentation/openapi": {}}))
    assert list(found.values()) == ["unknown namespace, ignored"]


def test_the_environment_overrides_scalars_of_the_root() -> None:
    it = service(document(), KRAKEND_PORT="8081", KRAKEND_TIMEOUT="7s", KRAKEND_DEBUG_ENDPOINT="1")
    assert (it.port, it.timeout, it.debug_endpoint) == (8081, 7.0, True)
    assert errors(document(), KRAKEND_PORT="x").keys() == {"$KRAKEND_PORT"}


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    for place, environ in (
        ("${PASSWORD}", {"PASSWORD": "p@ss/word"}),
        (f"${{file:{secret}}}", {}),
    ):
        host = f"amqp://me:{place}@broker"
        it = service(document(endpoint(backend=[backend(host=[host])])), **environ)
        assert it.endpoints[0].backend[0].host == ("amqp://me:p%40ss%2Fword@broker",)


def test_a_missing_secret_is_named() -> None:
    text = document(endpoint(backend=[backend(host=["amqp://me:${NOPE}@broker"])]))
    assert errors(text) == {"$.endpoints[0].backend[0].host[0]": "${NOPE} is not set"}


def test_no_finding_shows_a_password() -> None:
    host = "amqps:me:secret@broker"
    text = document(endpoint(backend=[backend(host=[host])], timeout=["x://me:secret@y"]))
    assert "secret" not in "\n".join(map(str, findings(text)))


def test_an_endpoint_with_shadows_only_is_left_out_with_a_warning() -> None:
    shadow = {"extra_config": {"proxy": {"shadow": True}}, "host": ["http://service.test"]}
    both = endpoint(endpoint="/b", backend=[shadow, {"host": ["http://service.test"]}])
    found = loaded(document(endpoint(backend=[shadow, shadow]), both))
    assert [each.endpoint for each in found.service.endpoints] == ["/b"]
    assert [each.path for each in found.findings] == ["$.endpoints[0].backend"]


@pytest.mark.parametrize("path", ["/a/{JWT.sub}", "/a/{jWT.sub}/b"])
def test_a_path_parameter_is_never_a_claim(path: str) -> None:
    assert (
        "cannot be a JWT claim"
        in errors(document(endpoint(endpoint=path)))["$.endpoints[0].endpoint"]
    )
