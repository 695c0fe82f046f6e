"""The reader of the table, and a run on a table of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .__main__ import run
from .table import GoError, read_cases

SOURCE = """
package test

func testAll(t *testing.T) {
	usual := map[string]string{
		"X-Krakend": "Version", // of any number
	}
	for _, tc := range []struct {
		name    string
		url     string
		headers map[string]string
	}{
		{
			name:       "good",
			url:        "/good?a=1",
			headers:    map[string]string{"X-One": "1", "X-Two": "two"},
			expHeaders: usual,
			expBody:    fmt.Sprintf(`{"name":"a","email":"some@email.com","port":%d}`, cfg.Port),
		},
		{
			method:        "POST",
			name:          "bad \\"case\\"",
			url:           "/bad",
			body:          `{"ip":"` + localhostIP + `"}`,
			expHeaders:    map[string]string{},
			expStatusCode: 418,
		},
	} {
		tc := tc
	}
}
"""
VALUES = {"cfg.Port": 8080, "localhostIP": "127.0.0.1"}


def test_cases_are_read_with_names_sums_and_formats() -> None:
    good, bad = read_cases(SOURCE, VALUES)
    assert good.headers == {"X-One": "1", "X-Two": "two"}
    assert good.expected == {"X-Krakend": "Version"}
    assert (good.method, good.content, good.status) == ("GET", None, 200)
    assert good.body == '{"name":"a","email":"some@email.com","port":8080}'
    assert (bad.name, bad.method, bad.status) == ('bad "case"', "POST", 418)
    assert (bad.content, bad.body) == (b'{"ip":"127.0.0.1"}', "")


def test_what_is_no_table_or_no_literal_is_said() -> None:
    with pytest.raises(GoError, match="no table of cases"):
        read_cases("package test", VALUES)
    with pytest.raises(GoError, match=r'^line \d+: "unknown" is none'):
        read_cases(SOURCE.replace("usual,", "unknown,"), VALUES)


def test_each_case_has_a_line_and_failures_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    source = SOURCE.replace(',"port":%d', ',"more":%d')
    (folder / "integration_test.go").write_text(source, encoding="utf-8")
    backend = {"host": ["{{.b3}}"], "url_pattern": "/"}
    endpoints = [
        {"endpoint": "/good", "backend": [backend]},
        {"endpoint": "/bad", "method": "POST", "backend": [backend]},
    ]
    config = {"version": 3, "extra_config": {}, "endpoints": endpoints}
    text = json.dumps({**config, "port": 0}).replace('"port": 0', '"port": {{.port}}')
    (folder / "lura.json").write_text(text, encoding="utf-8")
    assert run(tmp_path, {}) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAILED  good: body b'{")
    assert lines[1] == 'FAILED  bad "case": status 200, expected 418'
    assert lines[2] == "0 passed, 2 failed"
