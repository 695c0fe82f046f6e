"""Go templates are rendered as Go renders them; a syntax error has file and line."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.findings import ConfigError, Findings
from gateway.config.template.flexible import render

RECORDED = json.loads((Path(__file__).parent / "go.json").read_text(encoding="utf-8"))


def rendered(text: str, folder: Path, settings: dict[str, Any] | None = None, **more: str) -> str:
    """``settings``: the dot. ``more``: the environment."""
    for name, each in (settings or {}).items():
        (folder / "settings").mkdir(exist_ok=True)
        (folder / "settings" / f"{name}.json").write_text(json.dumps(each))
    environ = {"FC_SETTINGS": str(folder / "settings") if settings else "", **more}
    path = folder / "gateway.tmpl"
    path.write_bytes(text.encode())
    return render(path, environ, Findings())[0].decode()


def problem(text: str, folder: Path, settings: dict[str, Any] | None = None, **more: str) -> str:
    with pytest.raises(ConfigError) as caught:
        rendered(text, folder, settings, **more)
    return str(caught.value).replace(str(folder), "")


@pytest.mark.parametrize(("text", "expected"), RECORDED["cases"])
def test_a_template_is_rendered_as_go_renders_it(text: str, expected: str, tmp_path: Path) -> None:
    assert rendered(text, tmp_path, RECORDED["data"]) == expected


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("{{ .a.b", 1, "does not end"),
        ("\n\n{{ if .a }}x", 3, "is missing"),
        ("\n{{ end }}", 2, 'without "if"'),
        ("\n{{ nosuch .a }}", 2, "unknown function nosuch"),
        ("{{ $nope }}", 1, "unknown variable $nope"),
        ("{{ $nope = 1 }}", 1, "unknown variable $nope"),
        ("{{ .a | .b }}", 1, "only a function"),
        ("{{ .a 1 }}", 1, "only a function"),
        ("{{ }}", 1, "ends too early"),
        ("{{ (eq 1 1 }}", 1, '")" is missing'),
        ("{{ a := 1 }}", 1, "not understood: :="),
        ("{{ % }}", 1, "not understood"),
        ("{{ template x }}", 1, "name of a template"),
        ("\n{{ template `nope` . }}", 2, 'unknown template "nope"'),
        ("{{ break }}", 1, "outside of a range"),
        ("{{ else }}", 1, 'without "if"'),
        ("\n\n{{ .a.b.c }}", 3, "only an object has fields"),
        ("{{ range .a.b }}{{ end }}", 1, "cannot range over string"),
        ("\n{{ index .a.l 7 }}", 2, "no such index"),
        ("{{ if true }}\n{{ fail `stop` }}{{ end }}", 2, "fail: stop"),
        ('\n{{ include "nosuch" }}', 2, 'the partial "nosuch" cannot be read'),
        ("{{ upper 5 }}", 1, "descriptor 'upper'"),
        ("{{ default }}", 1, "missing 1 required"),
        ("{{ regexMatch `(` `a` }}", 1, "does not accept"),
        ("{{ int `hunter2` }}", 1, "does not accept"),
    ],
)
def test_a_syntax_error_is_reported_with_its_line(
    text: str, line: int, word: str, tmp_path: Path
) -> None:
    output = problem(text, tmp_path, {"a": {"b": "hi", "l": []}})
    assert output.startswith(f"error: /gateway.tmpl:{line}: ")
    assert word in output
    assert "hunter2" not in output


def test_a_problem_in_another_template_names_that_one(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "sub.tmpl").write_text("\n\n{{ .x.y }}")
    output = problem("{{ template `sub.tmpl` `x` }}", tmp_path, FC_TEMPLATES=str(templates))
    assert output == "error: /templates/sub.tmpl:3: .x of string: only an object has fields"
    (templates / "sub.tmpl").write_text("\n{{ end }}")
    output = problem("{{ template `sub.tmpl` . }}", tmp_path, FC_TEMPLATES=str(templates))
    assert output.startswith("error: /templates/sub.tmpl:2: ")


def test_endless_recursion_of_a_template_is_reported(tmp_path: Path) -> None:
    assert "nested too deeply" in problem("{{ template `gateway.tmpl` . }}", tmp_path)


WORDS = """if range with else end template define block break . .a $ $x := = | ( ) , `s` 1 nil true
and or eq index len printf default dict set upper marshal include env -"""
ACTIONS = st.lists(st.sampled_from(WORDS.split()), max_size=6).map(
    lambda words: "{{ " + " ".join(words) + " }}"
)


@given(st.lists(ACTIONS | st.text(max_size=5) | st.sampled_from(["{{", "}}", "{%", "{#"])))
def test_no_text_raises_anything_but_findings(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for suffix in (".tmpl", ".j2"):
        path = folder / f"fuzz{suffix}"
        path.write_bytes("".join(parts).encode(errors="replace"))
        with suppress(ConfigError):
            render(path, {}, Findings())
