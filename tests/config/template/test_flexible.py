"""``FC_ENABLE`` and its like: settings, partials, templates, what is saved, Jinja."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gateway.app.catalog import CATALOG
from gateway.config.findings import ConfigError
from gateway.config.load import Loaded, load

GO = """{
  "version": 3,
  "name": "{{ env "NAME" | default "none" }}",
  "port": {{ .service.port }},
  "endpoints": [
    {{- range $i, $path := .service.paths }}
    {{ if $i }},{{ end }}{{ template "endpoint.tmpl" (dict "path" $path "hosts" $.service.hosts) }}
    {{- end }}
  ]
}
"""
JINJA = """{
  "version": 3,
  "name": "{{ env("NAME") | default("none", true) }}",
  "port": {{ service.port }},
  "endpoints": [
    {% for path in service.paths %}
    {{ template("endpoint.tmpl", {"path": path, "hosts": service.hosts}) }}
    {{- "," if not loop.last }}
    {% endfor %}
  ]
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {
        "gateway.tmpl": GO,
        "gateway.json.j2": JINJA,
        "settings/service.json": json.dumps(
            {"port": 8081, "paths": ["/a", "/b"], "hosts": ["http://h"]}
        ),
        "settings/README.md": "not a setting",
        "templates/endpoint.tmpl": (
            '{"endpoint": "{{ .path }}", "backend": [{"host": {{ marshal .hosts }}, '
            '"extra_config": {{ include "extra.txt" }}}]}'
        ),
        "partials/extra.txt": '{"backend/http": {"return_error_code": true}, "@c": "{{ raw }}"}',
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return tmp_path


def loaded(folder: Path, name: str = "gateway.tmpl", **environ: str) -> Loaded:
    given = {
        "FC_ENABLE": "0",
        "FC_SETTINGS": str(folder / "settings"),
        "FC_PARTIALS": str(folder / "partials"),
        "FC_TEMPLATES": str(folder / "templates"),
        **environ,
    }
    return load(folder / name, CATALOG, given)


def problems(folder: Path, name: str = "gateway.tmpl", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, name, **environ)
    return str(caught.value).replace(str(folder), "")


@pytest.mark.parametrize("name", ["gateway.tmpl", "gateway.json.j2"])
def test_settings_partials_and_templates_come_together(folder: Path, name: str) -> None:
    service = loaded(folder, name, NAME="it").service
    assert (service.name, service.port) == ("it", 8081)
    assert [each.endpoint for each in service.endpoints] == ["/a", "/b"]
    assert service.endpoints[1].backend[0].host == ("http://h",)
    assert "backend/http" in service.endpoints[1].backend[0].extra_config
    assert loaded(folder, name).service.name == "none"


def test_without_fc_enable_a_file_is_not_a_template(folder: Path) -> None:
    assert "not JSON" in problems(folder, FC_ENABLE="")


def test_a_whole_file_may_be_made_of_settings(folder: Path) -> None:
    (folder / "gateway.tmpl").write_text("{{ .all | toPrettyJson }}")
    (folder / "settings" / "all.json").write_text('{"version": 3, "port": 8082}')
    assert loaded(folder).service.port == 8082


def test_the_result_is_saved_for_its_owner_only(folder: Path) -> None:
    out = folder / "out.json"
    loaded(folder, FC_OUT=str(out))
    assert json.loads(out.read_text())["port"] == 8081
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "$FC_OUT: cannot write" in problems(folder, FC_OUT=str(folder / "no" / "out.json"))


def test_the_suffix_says_the_format_of_the_rendered_text(folder: Path) -> None:
    (folder / "gateway.yaml").write_text("version: 3\nport: {{ .service.port }}\n")
    assert loaded(folder, "gateway.yaml").service.port == 8081
    (folder / "gateway.tmpl").write_text("version: 3\nport: {{ .service.port }}\n")
    assert "not JSON" in problems(folder)
    assert loaded(folder, FC_OUT=str(folder / "out.yaml")).service.port == 8081


def test_a_broken_result_shows_the_line_of_the_rendered_text(folder: Path) -> None:
    (folder / "gateway.tmpl").write_text('{{ range until 3 }}\n{{ end }}{"version": 3\n,}')
    output = problems(folder)
    assert "line 5, column 2, in the rendered template" in output
    assert "FC_OUT=FILE" in output


def test_a_missing_value_is_a_warning_and_printed_as_go_prints_it(folder: Path) -> None:
    (folder / "gateway.tmpl").write_text('{"version": 3,\n"name": "{{ .service.nme.x }}"}')
    it = loaded(folder)
    assert it.service.name == "<no value>"
    assert [str(each).replace(str(folder), "") for each in it.findings] == [
        "warning: /gateway.tmpl:2: {{ .service.nme.x }} has no value"
    ]


def test_every_broken_setting_is_reported_at_once(folder: Path) -> None:
    (folder / "settings" / "a.json").write_text("{")
    (folder / "settings" / "b.json").write_text("[]")
    output = problems(folder).splitlines()
    assert [line.partition(": not an object")[0] for line in output] == [
        "error: /settings/a.json",
        "error: /settings/b.json",
    ]
    assert "is not a directory" in problems(folder, FC_SETTINGS=str(folder / "no"))


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("\n{% if %}", 2, "Expected an expression"),
        ("\n\n{{ nosuch.x }}", 3, "'nosuch' is undefined"),
        ("\n{% include 'nosuch' %}", 2, "nosuch"),
        ("\n{{ ''.__class__.mro() }}", 2, "unsafe"),
        ("\n{{ service.port | marshal | nosuch }}", 2, "nosuch"),
    ],
)
def test_an_error_in_jinja_is_reported_with_its_line(
    folder: Path, text: str, line: int, word: str
) -> None:
    (folder / "bad.j2").write_text(text)
    output = problems(folder, "bad.j2")
    assert output.startswith(f"error: /bad.j2:{line}: ")
    assert word in output


def test_a_missing_template_is_a_clear_error(folder: Path) -> None:
    assert "/no.tmpl: cannot be read" in problems(folder, "no.tmpl")
