"""Documents as YAML, quoted as KrakenD quotes (goccy/go-yaml). Pure."""

from __future__ import annotations

import re
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
    text: str = yaml.dump(
        unwrap_all(data or {}), Dumper=_Dumper, allow_unicode=True, width=float("inf")
    )
    return text.encode()
