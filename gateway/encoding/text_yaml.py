"""Documents as YAML, quoted as KrakenD quotes (goccy/go-yaml). Pure."""

from __future__ import annotations

import re
from typing import Any

import yaml

from .document import Document, unwrap_all

_OTHER_BREAKS = re.compile("[\\r\\x85\\u2028\\u2029]")
"""Between literal lines each of them would be read as a line feed."""

_QUOTED = re.compile(
    r"""[#\\] | [:\-][ ] | [: ]\Z
    | \A(?: [*&\[{}\],!|>%'"@ `] | --- | \.\.\. | \?(?:[ ]|\Z) | [yYnN-]\Z )
    | \A[-+]?\d+\.\d*[eE]\d+\Z
    | [^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]""",
    re.VERBOSE,
)
"""Text that needs quotes, in addition to what YAML 1.1 takes for something else than text."""

_MAX_WIDTH = 2**31 - 1
"""Long text stays on its line."""


class _Dumper(yaml.CSafeDumper):
    """Text is plain where it can be, literal where it has lines, else in double quotes."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=self._style(text))

    def _style(self, text: str) -> str | None:
        if "\n" in text:
            return '"' if _OTHER_BREAKS.search(text) else "|"
        tag = self.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return None if tag.endswith(":str") and not _QUOTED.search(text) else '"'

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_text)


def encode_yaml(data: Document | None) -> bytes:
    """Sorted keys. Numbers of JSON are text in quotes, as in KrakenD: they keep their digits.

    Raises RecursionError when it is nested too deeply.
    """
    document = unwrap_all(data or {})
    text: bytes = yaml.dump(
        document, Dumper=_Dumper, allow_unicode=True, width=_MAX_WIDTH, encoding="utf-8"
    )
    return text
