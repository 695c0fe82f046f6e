"""Reads a configuration as a plain document: a file, its content, or an object. Knows no keys."""

from __future__ import annotations

import codecs
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import yaml

from .files import cannot_read
from .findings import ConfigError, Finding, Findings, key_path, on_one_line
from .json_types import Json, JsonObject
from .read_yaml import load_yaml
from .struct_walker import describe


def read_document(
    source: str | os.PathLike[str] | bytes | Mapping[str, object],
    environ: Mapping[str, str],
    findings: Findings,
) -> JsonObject:
    """A document from a path (its suffix says JSON, YAML or TOML), from bytes of JSON, or from an
    object.

    With ``FC_ENABLE`` in the environment a file is a template. A string that begins with "{" is
    JSON, not a path. Raises :class:`ConfigError`.
    """
    if isinstance(source, Mapping):
        return _as_document(lambda: _plain(source))
    if isinstance(source, str) and _is_json(source):
        source = source.encode(errors="replace")
    if isinstance(source, bytes):
        return decode(source, "json", findings)
    path = Path(source)
    if not environ.get("FC_ENABLE"):
        return decode(read_file(path), path.suffix, findings)
    from .template.flexible import render  # imports Jinja

    try:
        return decode(*render(path, environ, findings), findings)
    except ConfigError as error:
        raise ConfigError(map(_of_rendered, error.findings)) from error


def file_of(source: str | os.PathLike[str] | bytes | Mapping[str, object]) -> str:
    """The path of the file; empty when ``source`` is not a path."""
    if isinstance(source, bytes | Mapping) or (isinstance(source, str) and _is_json(source)):
        return ""
    return os.fspath(source)


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise unreadable(cannot_read(path, error)) from error


def decode(content: bytes, suffix: str, findings: Findings) -> JsonObject:
    """The document. ``findings`` gets the keys that occur twice in a JSON object."""
    reader = READERS.get(suffix.lower().lstrip("."))
    if reader is not None:
        return _as_document(lambda: _plain(reader(content)))
    document = _as_document(lambda: _read_json(content))
    for path in repeated_keys(content):
        findings.warning(path, "occurs twice in its object: the last value is used")
    return document


def _as_document(read: Callable[[], Json]) -> JsonObject:
    try:
        document = read()
    except RecursionError as error:
        raise unreadable("nested too deeply") from error
    if not isinstance(document, dict):
        raise unreadable(f"expected an object, found {describe(document)}")
    return document


def _plain(value: object) -> Json:
    """The value as JSON could have it: keys and dates are strings."""
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value).encode(errors="replace").decode()


def _read_json(content: bytes) -> Json:
    try:
        document: Json = msgspec.json.decode(content)
        return document
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unreadable(_why_not_json(content, error)) from error


def _why_not_json(content: bytes, error: Exception) -> str:
    if not content.strip():
        return "the file is empty"
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "the file begins with a byte order mark: save it as UTF-8 without one"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    text = _with_position(str(error), content)
    for old, new in (
        ("Input data was truncated", "the document ends too early"),
        ("JSON is malformed: ", ""),
    ):
        text = text.replace(old, new)
    has_comment = re.search(rb"^\s*(//|/\*|#)", content, re.MULTILINE)
    comment = '; JSON has no comments: use a key such as "@comment"' if has_comment else ""
    return f"not JSON: {text}{comment}"


def repeated_keys(content: bytes) -> Iterator[str]:
    """The paths of keys that occur twice in an object of a JSON document."""
    try:
        document = json.loads(content, object_pairs_hook=_Pairs)
    except ValueError:
        return iter(())
    return _repeated(document, "$")


class _Pairs(list[tuple[str, object]]):
    """An object with its keys as they are written, also those that occur twice."""


def _repeated(value: object, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen = set()
        for key, inner in value:
            if key in seen:
                yield key_path(path, key)
            seen.add(key)
            yield from _repeated(inner, key_path(path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _repeated(inner, f"{path}[{place}]")


def _with_position(text: str, content: bytes) -> str:
    found = re.search(r"\(byte (\d+)\)", text)
    offset = int(found[1]) if found else len(content)
    before = content[:offset]
    line = before.count(b"\n") + 1
    column = offset - (before.rfind(b"\n") + 1) + 1
    return f"{text.split(' (byte')[0]}, line {line}, column {column}"


def _read_yaml(content: bytes) -> object:
    try:
        return load_yaml(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise unreadable(f"not YAML: {problem}{where}") from error


def _read_toml(content: bytes) -> object:
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:
        raise unreadable(f"not TOML: {error}") from error


READERS: dict[str, Callable[[bytes], object]] = {
    "yaml": _read_yaml,
    "yml": _read_yaml,
    "toml": _read_toml,
}
"""By suffix. A file with any other suffix is JSON, as in KrakenD."""


def _of_rendered(finding: Finding) -> Finding:
    """A syntax error in the text that a template rendered."""
    if finding.path != "$":
        return finding
    text = f"{finding.text}, in the rendered template (FC_OUT=FILE saves it)"
    return Finding("$", finding.severity, text)


def unreadable(text: str) -> ConfigError:
    return ConfigError([Finding("$", "error", on_one_line(text))])
