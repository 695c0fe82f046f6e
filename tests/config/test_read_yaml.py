"""YAML as Go reads it."""

from __future__ import annotations

from typing import Any

import pytest

from .test_leniency import findings, loaded

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
        (b"a: 1\na: 2", "occurs twice, line 2"),
        (b"a: !!int x", "not a number, line 1"),
        (b"a: !!bool x", "the value does not fit its tag"),
        (b"a: !!python/object:os.system x", "could not determine a constructor"),
        (b"? [a]\n: 1", "found unhashable key"),
        (b"\xff", "not YAML"),
        (b"a: &a [*a]", "nested too deeply"),
    ],
)
def test_invalid_yaml_is_reported(text: bytes, word: str, tmp_path: Any) -> None:
    assert word in str(findings(text, "yaml", tmp_path)[0])


def test_a_key_may_also_be_in_a_merged_mapping(tmp_path: Any) -> None:
    text = b"x: &x {port: 1}\nversion: 3\nclient_tls: {<<: *x, port: 2}"
    assert {each.path for each in findings(text, "yaml", tmp_path)} == {"$.x", "$.client_tls.port"}
