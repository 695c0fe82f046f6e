"""What KrakenD's loader tolerates, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.amqp.settings import ProducerSettings
from gateway.app.catalog import CATALOG
from gateway.config.findings import ConfigError, Finding
from gateway.config.load import Loaded, load
from gateway.config.structs import Endpoint

SECRET = "hunter-2"
URL = f"amqp://me:{SECRET}@broker:5672"


def document(**changes: Any) -> dict[str, Any]:
    """One endpoint with one HTTP backend."""
    only = {"endpoint": "/a/{id}", "backend": [{"host": ["http://b"], "url_pattern": "/{id}"}]}
    return {"version": 3, "endpoints": [{**only, **changes}]}


def findings(source: Any, suffix: str = "", folder: Any = None, **environ: str) -> list[Finding]:
    if suffix:
        path = folder / f"config.{suffix}"
        path.write_bytes(source)
        source = path
    try:
        return list(load(source, CATALOG, environ).findings)
    except ConfigError as error:
        return list(error.findings)


def loaded(source: Any, **environ: str) -> Loaded:
    return load(source, CATALOG, environ)


def endpoint(**changes: Any) -> Endpoint:
    return loaded(document(**changes)).service.endpoints[0]


def warned(source: Any) -> str:
    return "\n".join(map(str, loaded(source).findings))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("3", 3),
        ("0x10", 16),
        ("0b11", 3),
        ("017", 15),
        ("0o17", 15),
        ("1_000", 1000),
        (3.9, 3),
        (True, 1),
        ("", 1),
        (0, 1),
        (None, 1),
        (-2, -2),
    ],
)
def test_a_whole_number_has_many_notations(written: Any, meant: int) -> None:
    assert endpoint(concurrent_calls=written).concurrent_calls == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1s", 1.0),
        (1_500_000_000, 1.5),
        (2.5e9, 2.5),
        (True, 1e-9),
        ("-1s", -1.0),
        (0, 2.0),
        ("0s", 2.0),
        (None, 2.0),
    ],
)
def test_a_number_as_a_duration_is_nanoseconds_and_zero_means_absent(
    written: Any, meant: float
) -> None:
    assert endpoint(timeout=written).timeout == meant


@pytest.mark.parametrize("written", ["", "2", "1e3", [], {}, "3000000h", 1e30])
def test_a_value_that_is_not_a_duration_is_refused(written: Any) -> None:
    assert [each.path for each in findings(document(timeout=written)) if "error" in str(each)] == [
        "$.endpoints[0].timeout"
    ]


@pytest.mark.parametrize(
    ("written", "meant"), [(5, "5"), (5.0, "5"), (1.5, "1.5"), (1e21, "1" + "0" * 21), (True, "1")]
)
def test_a_number_becomes_a_string(written: Any, meant: str) -> None:
    backend = {"host": ["http://b"], "group": written}
    assert endpoint(backend=[backend]).backend[0].group == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [(1, True), ("t", True), ("TRUE", True), ("0", False), ("", False), (0.0, False)],
)
def test_a_boolean_has_the_notations_of_go(written: Any, meant: bool) -> None:
    backend = {"host": ["http://b"], "is_collection": written}
    assert endpoint(backend=[backend]).backend[0].is_collection is meant


@pytest.mark.parametrize("written", ["yes", "on", "tRUE", [], {}])
def test_a_value_that_is_not_a_boolean_is_refused(written: Any) -> None:
    backend = {"host": ["http://b"], "is_collection": written}
    paths = [each.path for each in findings(document(backend=[backend]))]
    assert paths == ["$.endpoints[0].backend[0].is_collection"]


def test_one_object_is_a_list_of_one_and_an_empty_one_is_an_empty_list() -> None:
    it = endpoint(backend={"host": "http://b", "allow": {}, "mapping": []})
    assert (it.backend[0].host, it.backend[0].allow, it.backend[0].mapping) == (
        ("http://b",),
        (),
        {},
    )
    assert loaded({"version": 3, "endpoints": {}}).service.endpoints == ()


def test_the_objects_of_a_list_are_merged() -> None:
    backend = {"host": ["http://b"], "mapping": [{"a": "b"}, {"c": "d"}]}
    assert endpoint(backend=[backend]).backend[0].mapping == {"a": "b", "c": "d"}


def test_keys_are_read_in_any_letter_case_and_the_exact_one_counts_first() -> None:
    text = {"Version": "3", "PORT": 1, "port": 8081, "Endpoints": document()["endpoints"]}
    it = loaded(text)
    assert (it.service.port, len(it.service.endpoints)) == (8081, 1)
    assert [each.path for each in it.findings] == [
        "$.Version",
        "$.Version",
        "$.PORT",
        "$.Endpoints",
    ]


def test_a_key_that_occurs_twice_is_a_warning_and_the_last_value_is_used() -> None:
    text = '{"version": 3, "port": 1, "port": 8081, "endpoints": [], "host": [], "host": []}'
    it = loaded(text)
    assert it.service.port == 8081
    assert [each.path for each in it.findings] == ["$.port", "$.host"]


def test_unknown_keys_are_warnings_at_every_level() -> None:
    text = document(nosuch=1, backend=[{"host": ["http://b"], "timeot": "1s"}])
    text |= {"nosuch": 1, "async_agent": [], "client_tls": {"nosuch": 1}}
    assert {each.path for each in findings(text)} == {
        "$.endpoints[0].nosuch",
        "$.endpoints[0].backend[0].timeot",
        "$.nosuch",
        "$.client_tls.nosuch",
    }


def test_null_means_absent_and_a_null_in_a_list_is_an_empty_value() -> None:
    text = document(method=None, input_headers=None, input_query_strings=[None, "a"])
    only = loaded(text).service.endpoints[0]
    assert (only.method, only.input_headers, only.input_query_strings) == ("GET", (), ("", "a"))
    assert "[0]: expected an object, found null" in str(
        findings({"version": 3, "endpoints": [None]})[0]
    )


def test_an_item_that_is_refused_does_not_shift_the_paths_of_the_others() -> None:
    text = document()
    text["endpoints"] = [5, {**text["endpoints"][0], "timeout": "x"}, {"backend": [None, {}]}]
    assert [each.path for each in findings(text) if each.severity == "error"] == [
        "$.endpoints[0]",
        "$.endpoints[1].timeout",
        "$.endpoints[2].backend[0]",
    ]


def test_settings_that_are_not_an_object_are_ignored_unless_they_are_required() -> None:
    assert "found null: ignored" in warned({"version": 3, "extra_config": {"router": None}})
    backend = {"host": [URL], "extra_config": {"backend/amqp/producer": "x"}}
    errors = [each for each in findings(document(backend=[backend])) if each.severity == "error"]
    assert any("expected an object" in each.text for each in errors)


def test_a_legacy_name_next_to_the_current_one_is_ignored() -> None:
    legacy = "github.com/devopsfaith/krakend-amqp/produce"
    extra = {"backend/amqp/producer": {"exchange": "new"}, legacy: {"exchange": "old"}}
    backend = {"host": ["amqp://b"], "disable_host_sanitize": True, "extra_config": extra}
    text = document(backend=[backend])
    assert "is set, too" in warned(text)
    settings = loaded(text).service.endpoints[0].backend[0].extra_config["backend/amqp/producer"]
    assert isinstance(settings, ProducerSettings)
    assert settings.exchange == "new"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("b", "http://b"),
        ("https://b:8443/", "https://b:8443"),
        ("!b!", "http://b"),
        ("b.c-d_e:80", "http://b.c-d_e:80"),
    ],
)
def test_a_host_is_cleaned(written: str, meant: str) -> None:
    assert endpoint(backend=[{"host": [written]}]).backend[0].host == (meant,)


@pytest.mark.parametrize("host", ["", "a b", "http://b/path", "http://b:1", "[::1]:80", "a:b@c"])
def test_a_host_that_the_sanitizer_refuses_is_an_error(host: str) -> None:
    paths = [each.path for each in findings(document(backend=[{"host": [host]}]))]
    assert "$.endpoints[0].backend[0].host[0]" in paths


@pytest.mark.parametrize(
    ("path", "is_fine"),
    [
        ("a", True),
        ("/__healthy", True),
        ("/x/__debug", False),
        ("/x/__echo/y", False),
        ("/a*b", False),
        ("/a?b=1", True),
    ],
)
def test_reserved_paths(path: str, is_fine: bool) -> None:
    text = document(endpoint=path, backend=[{"host": ["http://b"]}])
    assert (findings(text) == []) is is_fine


def test_without_rest_parameters_are_allowed_anywhere() -> None:
    backend = {"host": ["http://b"], "url_pattern": "/{id}"}
    text = document(endpoint="/v{id}", backend=[backend])
    literal, unknown = findings(text)
    assert "{id} is not a parameter but plain text: a parameter begins its segment" in str(literal)
    assert "has no parameter {id}" in str(unknown)
    assert findings({**text, "disable_rest": True}) == []


def test_the_environment_may_set_a_host_and_zero_means_absent() -> None:
    text = document(backend=[{"url_pattern": "/{id}"}])
    it = loaded(text, KRAKEND_HOST="http://b", KRAKEND_PORT="0", KRAKEND_ENDPOINTS="x")
    assert it.service.endpoints[0].backend[0].host == ("http://b",)
    assert it.service.port == 8080


def test_an_agent_without_a_source_is_left_out() -> None:
    agent = {"backend": [{"host": ["http://b"]}], "extra_config": {"async/kafka": {}}}
    it = loaded({"version": 3, "async_agent": [agent]})
    assert it.service.async_agent == ()
    assert "left out" in it.findings[0].text


def test_placeholders_of_an_agents_backend_are_not_checked() -> None:
    source = {"host": "amqp://b", "name": "q", "exchange": "x"}
    backend = {"host": ["http://b"], "url_pattern": "/{id}"}
    agent = {"backend": [backend], "extra_config": {"async/amqp": source}}
    it = loaded({"version": 3, "async_agent": [agent]})
    assert [each.severity for each in it.findings] == ["warning"]
