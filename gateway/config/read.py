"""The only reader of disk: a file or its content as a plain document."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from .findings import ConfigError, Finding

Document = dict[str, Any]


def read_document(source: str | os.PathLike[str] | bytes | Mapping[str, Any]) -> Document:
    """A document from a path (by its suffix: JSON, YAML, TOML), from bytes, or as it is.

    A text that begins with "{" is JSON, not a path. Raises :class:`ConfigError`.
    """
    if isinstance(source, Mapping):
        return dict(source)
    if isinstance(source, bytes):
        return _decode(source, "json")
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return _decode(source.encode(), "json")
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(f"cannot read {path}: {error.strerror or error}") from error
    return _decode(content, path.suffix.lower().lstrip("."))


def _decode(content: bytes, kind: str) -> Document:
    try:
        document = READERS.get(kind, _read_json)(content)
    except RecursionError as error:
        raise _unreadable("nested too deeply") from error
    if not isinstance(document, dict):
        raise _unreadable(f"expected an object, found {type(document).__name__}")
    return document


def _read_json(content: bytes) -> object:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(f"not JSON: {_with_position(str(error), content)}") from error


def _with_position(text: str, content: bytes) -> str:
    found = re.search(r"\(byte (\d+)\)", text)
    offset = int(found[1]) if found else len(content)
    before = content[:offset]
    line = before.count(b"\n") + 1
    column = offset - (before.rfind(b"\n") + 1) + 1
    return f"{text.split(' (byte')[0]}, line {line}, column {column}"


def _read_yaml(content: bytes) -> object:
    try:
        return _with_text_keys(yaml.safe_load(content))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _unreadable(f"not YAML: {getattr(error, 'problem', error)}{where}") from error


def _with_text_keys(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def _read_toml(content: bytes) -> object:
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _unreadable(f"not TOML: {error}") from error


READERS: dict[str, Callable[[bytes], object]] = {
    "json": _read_json,
    "yaml": _read_yaml,
    "yml": _read_yaml,
    "toml": _read_toml,
}


def _unreadable(text: str) -> ConfigError:
    return ConfigError([Finding("$", "error", text)])
