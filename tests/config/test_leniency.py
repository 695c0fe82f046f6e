"""What KrakenD's loader tolerates, and that nothing in a file is more than a finding."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.amqp.settings import ProducerSettings
from gateway.assembly import Component
from gateway.catalog import CATALOG
from gateway.config.findings import ConfigError, Finding
from gateway.config.load import Loaded, load
from gateway.config.structs import Endpoint, Service

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
def test_a_whole_number_is_written_in_many_ways(written: Any, meant: int) -> None:
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
def test_a_number_as_a_duration_counts_nanoseconds_and_zero_says_nothing(
    written: Any, meant: float
) -> None:
    assert endpoint(timeout=written).timeout == meant


@pytest.mark.parametrize("written", ["", "2", "1e3", [], {}, "3000000h", 1e30])
def test_what_is_no_duration_is_refused(written: Any) -> None:
    assert [each.path for each in findings(document(timeout=written)) if "error" in str(each)] == [
        "$.endpoints[0].timeout"
    ]


@pytest.mark.parametrize(
    ("written", "meant"), [(5, "5"), (5.0, "5"), (1.5, "1.5"), (1e21, "1" + "0" * 21), (True, "1")]
)
def test_a_number_is_a_text(written: Any, meant: str) -> None:
    backend = {"host": ["http://b"], "group": written}
    assert endpoint(backend=[backend]).backend[0].group == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [(1, True), ("t", True), ("TRUE", True), ("0", False), ("", False), (0.0, False)],
)
def test_a_truth_is_written_as_go_reads_it(written: Any, meant: bool) -> None:
    backend = {"host": ["http://b"], "is_collection": written}
    assert endpoint(backend=[backend]).backend[0].is_collection is meant


@pytest.mark.parametrize("written", ["yes", "on", "tRUE", [], {}])
def test_what_is_no_truth_is_refused(written: Any) -> None:
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


def test_the_objects_of_a_list_are_one_object() -> None:
    backend = {"host": ["http://b"], "mapping": [{"a": "b"}, {"c": "d"}]}
    assert endpoint(backend=[backend]).backend[0].mapping == {"a": "b", "c": "d"}


def test_keys_count_whatever_their_case_and_the_exact_one_wins() -> None:
    text = {"Version": "3", "PORT": 1, "port": 8081, "Endpoints": document()["endpoints"]}
    it = loaded(text)
    assert (it.service.port, len(it.service.endpoints)) == (8081, 1)
    assert [each.path for each in it.findings] == [
        "$.Version",
        "$.Version",
        "$.PORT",
        "$.Endpoints",
    ]


def test_a_key_that_stands_twice_is_remarked_on_and_the_last_one_counts() -> None:
    text = '{"version": 3, "port": 1, "port": 8081, "endpoints": [], "host": [], "host": []}'
    it = loaded(text)
    assert it.service.port == 8081
    assert [each.path for each in it.findings] == ["$.port", "$.host"]


def test_unknown_keys_are_remarked_on_at_every_level() -> None:
    text = document(nosuch=1, backend=[{"host": ["http://b"], "timeot": "1s"}])
    text |= {"nosuch": 1, "async_agent": [], "client_tls": {"nosuch": 1}}
    assert {each.path for each in findings(text)} == {
        "$.endpoints[0].nosuch",
        "$.endpoints[0].backend[0].timeot",
        "$.nosuch",
        "$.client_tls.nosuch",
    }


def test_null_says_nothing_and_a_null_in_a_list_is_nothing_of_its_kind() -> None:
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


def test_settings_that_are_no_object_are_left_out_unless_they_guard_or_answer() -> None:
    assert "found null: ignored" in warned({"version": 3, "extra_config": {"router": None}})
    backend = {"host": [URL], "extra_config": {"backend/amqp/producer": "x"}}
    errors = [each for each in findings(document(backend=[backend])) if each.severity == "error"]
    assert any("expected an object" in each.text for each in errors)


def test_a_legacy_name_beside_the_current_one_is_ignored() -> None:
    legacy = "github.com/devopsfaith/krakend-amqp/produce"
    extra = {"backend/amqp/producer": {"exchange": "new"}, legacy: {"exchange": "old"}}
    backend = {"host": ["amqp://b"], "disable_host_sanitize": True, "extra_config": extra}
    text = document(backend=[backend])
    assert "stands beside it" in warned(text)
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
def test_a_host_that_the_sanitizer_does_not_know_is_refused(host: str) -> None:
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


def test_without_rest_parameters_stand_anywhere() -> None:
    backend = {"host": ["http://b"], "url_pattern": "/{id}"}
    text = document(endpoint="/v{id}", backend=[backend])
    assert "has no parameter {id}" in str(findings(text)[0])
    assert findings({**text, "disable_rest": True}) == []


def test_the_environment_may_set_a_host_and_zero_says_nothing() -> None:
    text = document(backend=[{"url_pattern": "/{id}"}])
    it = loaded(text, KRAKEND_HOST="http://b", KRAKEND_PORT="0", KRAKEND_ENDPOINTS="x")
    assert it.service.endpoints[0].backend[0].host == ("http://b",)
    assert it.service.port == 8080


def test_an_agent_without_a_source_is_left_out() -> None:
    agent = {"backend": [{"host": ["http://b"]}], "extra_config": {"async/kafka": {}}}
    it = loaded({"version": 3, "async_agent": [agent]})
    assert it.service.async_agent == ()
    assert "left out" in it.findings[0].text


def test_placeholders_of_an_agents_backend_are_not_looked_at() -> None:
    source = {"host": "amqp://b", "name": "q", "exchange": "x"}
    backend = {"host": ["http://b"], "url_pattern": "/{id}"}
    agent = {"backend": [backend], "extra_config": {"async/amqp": source}}
    it = loaded({"version": 3, "async_agent": [agent]})
    assert [each.severity for each in it.findings] == ["warning"]


YAML_TEXT = b"""
version: 3
endpoints:
- endpoint: /a
  backend:
  - host: [b]
    allow: [on, off, yes, 12:30, 2020-01-01, 1.50, 010, 0x10]
    group: 2020-01-01
    is_collection: True
"""


def test_yaml_is_read_as_go_reads_it(tmp_path: Any) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(YAML_TEXT)
    backend = loaded(path).service.endpoints[0].backend[0]
    assert backend.allow == ("on", "off", "yes", "12:30", "2020-01-01", "1.5", "8", "16")
    assert (backend.group, backend.is_collection) == ("2020-01-01", True)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"a: 1\na: 2", "stands twice, line 2"),
        (b"a: !!int x", "not a number, line 1"),
        (b"a: !!bool x", "not a value of its tag"),
        (b"a: !!python/object:os.system x", "could not determine a constructor"),
        (b"? [a]\n: 1", "found unhashable key"),
        (b"\xff", "not YAML"),
        (b"a: &a [*a]", "nested too deeply"),
    ],
)
def test_what_is_no_yaml_is_told(text: bytes, word: str, tmp_path: Any) -> None:
    assert word in str(findings(text, "yaml", tmp_path)[0])


def test_a_merge_key_may_repeat_what_it_merges(tmp_path: Any) -> None:
    text = b"x: &x {port: 1}\nversion: 3\nclient_tls: {<<: *x, port: 2}"
    assert {each.path for each in findings(text, "yaml", tmp_path)} == {"$.x", "$.client_tls.port"}


def test_each_finding_is_one_line() -> None:
    text = document(**{"a\nb": 1, "output_encoding": "x\ny"}) | {"port": "1\n2"}
    assert all("\n" not in str(each) for each in findings(text))


FULL: dict[str, Any] = {
    "version": 3,
    "name": "all",
    "port": 8080,
    "timeout": "2s",
    "host": ["http://b"],
    "client_tls": {"ca_certs": ["a.pem"], "client_certs": [{"certificate": "a"}]},
    "extra_config": {"router": {"return_error_msg": True}, "gateway": {"max_requests": 5}},
    "endpoints": [
        {
            "endpoint": "/a/{id}",
            "method": "POST",
            "timeout": "1s",
            "input_headers": ["X-A"],
            "backend": [
                {
                    "host": [URL],
                    "disable_host_sanitize": True,
                    "extra_config": {
                        "backend/amqp/consumer": {"name": "q", "exchange": "x", "wait": "1s"}
                    },
                },
                {"url_pattern": "/{id}", "mapping": {"a": "b"}, "allow": ["a"]},
            ],
            "extra_config": {"proxy": {"flatmap_filter": [{"type": "del", "args": ["a"]}]}},
        }
    ],
    "async_agent": [
        {
            "name": "a",
            "consumer": {"topic": "#", "timeout": "1s", "max_rate": 1.5},
            "connection": {"health_interval": "1s"},
            "backend": [{"url_pattern": "/x"}],
            "extra_config": {"async/amqp": {"host": URL, "name": "q", "exchange": "x"}},
        }
    ],
}
"""Something of everything, with a secret in it."""

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([URL, f"http://me:{SECRET}@h", f"x:y:{SECRET}@z", "1s", "{id}", "*", 10**400])
)
KEYS = st.sampled_from([*Service.__struct_fields__, "@c", "backend", URL]) | st.text(max_size=4)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    below = [
        place
        for key, each in inner
        for place in ([(*path, key)] if not isinstance(each, dict | list) else [])
        + (places(each, (*path, key)) if isinstance(each, dict | list) else [])
    ]
    return [path, *below] if path else below


@given(st.lists(st.tuples(st.sampled_from(places(FULL)), JSON), max_size=4))
@example([])
def test_no_document_raises_anything_but_findings_and_none_shows_a_secret(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    text = copy.deepcopy(FULL)
    for place, value in changes:
        at: Any = text
        try:
            for key in place[:-1]:
                at = at[key]
            at[place[-1]] = value
        except (KeyError, TypeError, IndexError):
            continue
    told = "\n".join(map(str, findings(text)))
    assert SECRET not in told
    told.encode()


@given(st.binary(max_size=60) | JSON.map(lambda value: yaml.safe_dump(value).encode()))
@example(b"\xef\xbb\xbf{}")
@example(b'{"a": 1e400}')
def test_no_content_raises_anything_but_findings(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for suffix in ("json", "yaml", "toml"):
        findings(content, suffix, folder)


@given(JSON)
def test_no_value_raises_anything_but_findings(value: Any) -> None:
    findings(value if isinstance(value, dict) else json.dumps(value).encode())
    findings({"version": 3, "endpoints": value, "extra_config": value, "async_agent": value})
    findings({"version": 3}, KRAKEND_PORT=str(value)[:50], KRAKEND_TIMEOUT=str(value)[:50])


def settings_of(row: Component) -> st.SearchStrategy[tuple[Component, Any]]:
    keys = st.sampled_from(row.settings.__struct_fields__ or ("x",))
    return st.tuples(st.just(row), st.dictionaries(keys, JSON, max_size=5))


@given(st.sampled_from(CATALOG).flatmap(settings_of))
def test_no_settings_raise_anything_but_findings_and_none_show_a_secret(
    given_settings: tuple[Component, Any],
) -> None:
    row, settings = given_settings
    extra = {row.namespace: settings}
    backend = {"host": ["http://b"], "extra_config": extra}
    source = {"backend/amqp/consumer": {"name": "q"}}
    text = document(backend=[backend], extra_config=extra) | {
        "extra_config": extra,
        "async_agent": [{"backend": [backend], "extra_config": {**source, **extra}}],
    }
    told = "\n".join(map(str, findings(text)))
    assert SECRET not in told
    assert all(line.startswith(("error: $", "warning: $")) for line in told.splitlines())
