"""Documents as YAML, quoted as KrakenD quotes (goccy/go-yaml). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from .document import Document, unwrap_all

_RESERVED = frozenset({"y", "Y", "n", "N", "-"})
"""Beside what YAML 1.1 takes for something else than text."""

_OTHER_BREAKS = re.compile("[\\r\\x85\\u2028\\u2029]")
"""Between literal lines each of them would be read as a line feed."""

_UNSAFE = re.compile(r"[#\\]|[:\-] |[: ]$|^[*&\[{}\],!|>%'\"@ `]|^[-+]?\d+\.\d*[eE]\d+$")


class _Dumper(yaml.SafeDumper):
    """Text is plain where it can be, literal where it has lines, else in double quotes."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=self._style(text))

    def _style(self, text: str) -> str | None:
        if "\n" in text:
            return '"' if _OTHER_BREAKS.search(text) else "|"
        tag = self.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        is_plain = tag.endswith(":str") and self.analyze_scalar(text).allow_block_plain
        return None if is_plain and text not in _RESERVED and not _UNSAFE.search(text) else '"'

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_text)


def encode_yaml(data: Document | None) -> bytes:
    """Sorted keys. Numbers of JSON are text in quotes, as in KrakenD: they keep their digits.

    Raises RecursionError when it is nested too deeply.
    """
    document = unwrap_all(data or {})
    lines: list[str] = []
    try:
        _write_mapping(document, "", "", lines.append)
        text = "".join(lines) or "{}\n"
    except _Odd:
        text = yaml.dump(document, Dumper=_Dumper, allow_unicode=True, width=float("inf"))
    return text.encode()


class _Odd(Exception):
    """Something that only the library can write."""


# The library takes seconds for 100,000 keys, twelve times as long as this: what most documents are
# made of is written here, byte for byte as it does.

_PRINTED = re.compile(r"[\x20-\x7e\xa1-\u1fff\u2030-\ud7ff]*")
_EASY = re.compile(r"(?!---|\.\.\.)[\w$(+./;<=^~\xa1-\u1fff\u2030-\ud7ff-]", re.ASCII)
"""How text begins against which the library has no more than _UNSAFE."""
_LONGEST_KEY = 127
"""Others are written as ``? key``, and so is an empty one."""

_WORDS = {None: "null", True: "true", False: "false"}
_resolvers = _Dumper.yaml_implicit_resolvers

Write = Callable[[str], object]


def _write_mapping(mapping: Document, indent: str, lead: str, write: Write) -> None:
    """``lead``: what stands before the first line, ``indent``: before the others."""
    for key in sorted(mapping):
        if not 0 < len(key) <= _LONGEST_KEY:
            raise _Odd
        value = mapping[key]
        head, lead = f"{lead}{_text(key)}:", indent
        if isinstance(value, dict) and value:
            write(f"{head}\n")
            _write_mapping(value, f"{indent}  ", f"{indent}  ", write)
        elif isinstance(value, list) and value:
            write(f"{head}\n")
            _write_sequence(value, indent, indent, write)
        else:
            write(f"{head} {_scalar(value)}\n")


def _write_sequence(items: Sequence[Any], indent: str, lead: str, write: Write) -> None:
    for value in items:
        head, lead = f"{lead}- ", indent
        if isinstance(value, dict) and value:
            _write_mapping(value, f"{indent}  ", head, write)
        elif isinstance(value, list) and value:
            _write_sequence(value, f"{indent}  ", head, write)
        else:
            write(f"{head}{_scalar(value)}\n")


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict | list):
        return "{}" if isinstance(value, dict) else "[]"
    raise _Odd


def _text(text: str) -> str:
    if not _PRINTED.fullmatch(text):
        raise _Odd
    is_other = any(means.match(text) for _, means in _resolvers.get(text[:1], ()))
    if is_other or text in _RESERVED or _UNSAFE.search(text):
        return '"{}"'.format(text.replace("\\", r"\\").replace('"', r"\""))
    if not _EASY.match(text):
        raise _Odd
    return text
