"""Nothing that a file holds is more than a finding."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.app.catalog import CATALOG
from gateway.config.structs import Service
from gateway.core.component import Component

from .test_leniency import SECRET, URL, document, findings


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
    output = "\n".join(map(str, findings(text)))
    assert SECRET not in output
    output.encode()


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
@example({"output_encoding": False, "backend": False})
def test_no_value_raises_anything_but_findings(value: Any) -> None:
    findings(value if isinstance(value, dict) else json.dumps(value).encode())
    findings({"version": 3, "endpoints": value, "extra_config": value, "async_agent": value})
    findings({"version": 3}, KRAKEND_PORT=str(value)[:50], KRAKEND_TIMEOUT=str(value)[:50])


def settings_of(row: Component[Any]) -> st.SearchStrategy[tuple[Component[Any], Any]]:
    keys = st.sampled_from(row.settings.__struct_fields__ or ("x",))
    return st.tuples(st.just(row), st.dictionaries(keys, JSON, max_size=5))


@given(st.sampled_from(CATALOG.components).flatmap(settings_of))
def test_no_settings_raise_anything_but_findings_and_none_show_a_secret(
    given_settings: tuple[Component[Any], Any],
) -> None:
    row, settings = given_settings
    extra = {row.namespace: settings}
    backend = {"host": ["http://b"], "extra_config": extra}
    source = {"backend/amqp/consumer": {"name": "q"}}
    text = document(backend=[backend], extra_config=extra) | {
        "extra_config": extra,
        "async_agent": [{"backend": [backend], "extra_config": {**source, **extra}}],
    }
    found = findings(text)
    assert all(SECRET not in str(each) for each in found)
    assert all(each.path.startswith("$") for each in found)
    assert all(len(str(each).splitlines()) == 1 for each in found)
